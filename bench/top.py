"""What does an open ``pgq top`` cost, with 100,000 live jobs, a million finished ones and 200 queues?

``pgq top`` runs in a terminal of 80 by 24 characters and shows one page after the other for some time. Each refresh
draws its time in the last line, so ``refreshes_per_s`` counts these times. CPU times are those of one refresh: ``client_ms`` in the process of ``pgq top``,
``server_ms`` in the server. ``drawn_bytes`` is what one refresh sends to the terminal. The values are of the page that costs most.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench.cpu import used_seconds
from bench.load import server_seconds
from bench.pages import large_queue, pss
from bench.report import Measurement, Report, Target

TITLE = "an open pgq top with a million finished jobs, 100,000 live ones and 200 queues"
KEYS = "ojqkce"  # after g: overview, jobs, queues, workers, statistics, errors
SECONDS = 30.0  # for each page
SHOWN = ["refreshes_per_s", "client_ms", "server_ms", "drawn_bytes", "memory_mb"]
TARGETS = [
    Target("refreshes a second of pgq top", lambda results: results.median("top", "refreshes_per_s"), 0.6, at_least=False),
]  # fmt: skip


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    for round_ in range(rounds):
        report.add(Measurement("top", "pgqueue", round_, measure(server, scale)))
    report.table("top", TITLE, SHOWN)


def measure(server: str, scale: float) -> dict[str, float]:
    with (
        large_queue(server, scale) as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
        terminal(dsn) as (pid, keyboard, drawn),
    ):
        while not drawn:
            time.sleep(0.1)
        costs = {key: page(conn, pid, keyboard, drawn, key, max(10.0, SECONDS * scale)) for key in KEYS}
        for key, cost in costs.items():
            print(f"  g {key}: " + ", ".join(f"{name} {value:.3g}" for name, value in cost.items()))
        return {name: max(cost[name] for cost in costs.values()) for name in costs["o"]} | {
            "memory_mb": pss(pid)
        }


@contextmanager
def terminal(dsn: str) -> Iterator[tuple[int, int, list[bytes]]]:
    """Starts ``pgq top``. Yields its pid, the file descriptor of its terminal, and what it has drawn."""
    pid, keyboard = pty.fork()
    if pid == 0:
        os.environ |= {"PGQUEUE_DSN": dsn, "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, "-m", "pgqueue", "top"])
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    drawn: list[bytes] = []
    threading.Thread(target=read, args=(keyboard, drawn), daemon=True).start()
    try:
        yield pid, keyboard, drawn
    finally:
        os.write(keyboard, b"q")
        os.waitpid(pid, 0)
        os.close(keyboard)


def read(keyboard: int, drawn: list[bytes]) -> None:
    try:
        while data := os.read(keyboard, 65536):
            drawn.append(data)
    except OSError:
        pass  # the dashboard has ended


def page(
    conn: psycopg.Connection, pid: int, keyboard: int, drawn: list[bytes], key: str, seconds: float
) -> dict[str, float]:
    os.write(keyboard, f"g{key}".encode())
    time.sleep(3)
    drawn.clear()
    client, server = used_seconds(pid), server_seconds(conn)
    time.sleep(seconds)
    client, server, shown = used_seconds(pid) - client, server_seconds(conn) - server, b"".join(drawn)
    refreshes = max(len(set(re.findall(rb"\d\d:\d\d:\d\d", shown))), 1)
    return {
        "refreshes_per_s": refreshes / seconds, "client_ms": 1000 * client / refreshes, "server_ms": 1000 * server / refreshes,
        "drawn_bytes": len(shown) / refreshes,
    }  # fmt: skip
