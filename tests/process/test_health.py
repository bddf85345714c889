"""Real workers answer probes: while they start, work, are blocked, lose the database and drain. Systemd hears the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import Connection

from tests.command_line import pgq
from tests.pids import is_gone
from tests.process.fleets import at_gates, gates, pids
from tests.process.worker_processes import QUICK, ROOT, WorkerProcess, WorkerProcesses, state_of
from tests.proxy import proxy_to
from tests.waiting import STARTS, wait_until

BLOCKING = ("-A", "tests.apps.blocking_tasks:app")
SILENT = ("-A", "tests.apps.silent_parts:app")
PAGE = ROOT / "docs/health.md"


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def ask(port: int, path: str) -> tuple[int, list[str]]:
    """Returns the code of the answer and what is failing. Code 0: no answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", f"/{path}")
        response = connection.getresponse()
        return response.status, json.loads(response.read())["failing"]
    except OSError:
        return 0, []
    finally:
        connection.close()


def codes(port: int) -> tuple[int, int, int]:
    live, ready, startup = (ask(port, path)[0] for path in ("livez", "readyz", "startupz"))
    return live, ready, startup


def enqueue(db: Connection[Any], task: str, **args: Any) -> int:
    row = db.execute("select id from pgqueue.enqueue(%s, %s::jsonb)", [task, json.dumps(args)]).fetchone()
    assert row is not None
    return int(row[0])


def serving(workers: WorkerProcesses, port: int, *options: str) -> WorkerProcess:
    """Starts a worker, and waits until it is ready."""
    worker = workers.start("--health-port", str(port), *options)
    wait_until(lambda: codes(port) == (200, 200, 200), STARTS)
    return worker


# ---------------------------------------------------------------- the life of a worker


def test_a_worker_is_live_but_not_ready_while_it_drains(
    workers: WorkerProcesses, port: int, db: Connection[Any], tmp_path: Path
) -> None:
    with gates(workers.dsn, 1):
        worker = serving(workers, port, *BLOCKING, *QUICK)
        assert worker.lines(f"health: http://127.0.0.1:{port}/livez")
        job = enqueue(db, "wait", gate=1)
        wait_until(lambda: at_gates(db) == 1)
        worker.signal(signal.SIGTERM)
        wait_until(lambda: ask(port, "readyz") == (503, ["the process drains"]))
        assert ask(port, "livez") == (200, [])
        where = {"PGQUEUE_HEALTH_PORT": str(port)}
        assert pgq("health", "live", cwd=tmp_path, env=where).stdout == "ok\n"
        refused = pgq("health", "ready", cwd=tmp_path, env=where)
        assert refused.returncode == 7
        assert "PGQ-720  The worker is not well: the process drains." in refused.stderr
    assert worker.wait() == 0
    assert state_of(db, job) == "completed"
    assert codes(port) == (0, 0, 0)
    gone = pgq("health", "startup", "--json", cwd=tmp_path, env=where)
    assert gone.returncode == 7
    assert json.loads(gone.stdout)["failing"][0].startswith(f"no answer from 127.0.0.1:{port}")


def test_a_worker_that_waits_for_the_database_is_live_and_has_not_started(
    watched: str, tmp_path: Path, port: int
) -> None:
    with proxy_to(watched) as proxy, WorkerProcesses(proxy.dsn, tmp_path) as workers:
        proxy.answers = False
        workers.start("--health-port", str(port), "--wait-for-db", "600")
        wait_until(lambda: codes(port) == (200, 503, 503), STARTS)


def test_a_worker_is_live_but_not_ready_during_an_outage(watched: str, tmp_path: Path, port: int) -> None:
    with proxy_to(watched) as proxy, WorkerProcesses(proxy.dsn, tmp_path) as workers:
        serving(workers, port, *QUICK)
        proxy.silent, proxy.new_too = "", True
        wait_until(lambda: codes(port)[1] == 503)
        # longer than the lease, and longer than any part may rest while the database answers
        for _ in wait_and_repeat(12):
            assert ask(port, "livez") == (200, [])
        failing = ask(port, "readyz")[1]
        proxy.silent, proxy.new_too = None, False
        wait_until(lambda: codes(port) == (200, 200, 200))
        assert all(name not in str(failing) for name in ("127.0.0.1", "pgqueue_test", "postgresql"))


def wait_and_repeat(seconds: float) -> Iterator[float]:
    """Yields again and again for some seconds: what the test asserts must be true all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield end
        time.sleep(0.1)


def test_live_answers_while_the_loop_is_blocked_and_says_so(
    workers: WorkerProcesses, port: int, db: Connection[Any]
) -> None:
    with gates(workers.dsn, 1):
        worker = serving(workers, port, *BLOCKING, *QUICK, "--blocked", "0")
        enqueue(db, "block", gate=1)
        wait_until(lambda: ask(port, "livez") == (503, ["the event loop does not respond"]))
        assert codes(port) == (503, 503, 200)
    wait_until(lambda: codes(port) == (200, 200, 200))
    assert worker.lines("not alive: the event loop does not respond")
    assert worker.lines("alive again")


@pytest.mark.parametrize("part", ["claimer", "heartbeat"])
def test_live_notices_a_part_that_makes_no_progress(
    watched: str, tmp_path: Path, port: int, db: Connection[Any], part: str
) -> None:
    with WorkerProcesses(watched, tmp_path, {"SILENT_PART": part}) as workers:
        serving(workers, port, *SILENT, "--lease", "6", "--heartbeat", "0.3", "--poll", "0.2")
        enqueue(db, "silence")
        wait_until(lambda: ask(port, "livez") == (503, [f"the {part} has made no progress"]))


def test_a_port_that_is_taken_ends_the_worker_before_it_registers(
    workers: WorkerProcesses, port: int, db: Connection[Any]
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        worker = workers.start("--health-port", str(port))
        assert worker.wait(timeout=STARTS) == 2
        assert worker.lines(f"PGQ-107  The health port cannot be opened on 127.0.0.1:{port}.")
        assert db.execute("select count(*) from pgqueue.workers").fetchone() == (0,)


def test_no_process_that_a_handler_forks_keeps_the_port(
    workers: WorkerProcesses, port: int, db: Connection[Any]
) -> None:
    worker = serving(workers, port, *SILENT, *QUICK)
    job = enqueue(db, "fork")
    wait_until(lambda: state_of(db, job) == "completed")
    [pid] = db.execute("select result::int from pgqueue.jobs where id = %s", [job]).fetchone() or ()
    try:
        worker.end()
        with socket.create_server(("127.0.0.1", port)):
            assert not is_gone(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- several processes


def test_one_port_answers_for_all_processes_and_lives_as_long_as_one_of_them(
    workers: WorkerProcesses, port: int, db: Connection[Any]
) -> None:
    with gates(workers.dsn, 1):
        worker = serving(workers, port, *BLOCKING, *QUICK, "--processes", "2", "--blocked", "12", "-c", "1")
        wait_until(lambda: len(pids(db)) == 2)
        enqueue(db, "block", gate=1)
        wait_until(
            lambda: db.execute("select 1 from pgqueue.workers where blocked_since is not null").fetchone()
        )
        assert ask(port, "livez") == (200, [])
        enqueue(db, "block", gate=1)
        wait_until(
            lambda: ask(port, "livez") == (503, ["in every worker process, the event loop does not respond"])
        )
    wait_until(lambda: codes(port) == (200, 200, 200))
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


def test_no_process_is_ready_while_none_of_them_works(
    workers: WorkerProcesses, port: int, db: Connection[Any]
) -> None:
    serving(workers, port, *QUICK, "--processes", "2")
    for pid in wait_until(lambda: pids(db) if len(pids(db)) == 2 else None) or ():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ask(port, "readyz") == (503, ["the process takes no jobs now"]))
    assert ask(port, "livez") == (200, [])
    wait_until(lambda: codes(port) == (200, 200, 200))


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one process", "two processes"])
def test_prometheus_scrapes_what_the_worker_has_done(
    workers: WorkerProcesses, port: int, db: Connection[Any], options: tuple[str, ...]
) -> None:
    serving(workers, port, *SILENT, *QUICK, *options)
    for _ in range(3):
        enqueue(db, "nothing")

    def completed() -> float | None:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        counted = families["pgqueue_job_completions"].samples
        return sum(one.value for one in counted if one.labels.get("task") == "nothing") or None

    wait_until(lambda: completed() == 3)


# ---------------------------------------------------------------- systemd


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Yields the address of a socket, as systemd makes one, and a function that returns all lines that have arrived so far."""
    address = str(tmp_path / "notify")
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address)
        end.setblocking(False)

        def hear() -> list[str]:
            try:
                while True:
                    heard.append(end.recv(4096).decode())
            except BlockingIOError:
                return heard

        yield address, hear


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one process", "two processes"])
def test_systemd_hears_of_the_whole_life_of_a_worker(
    watched: str,
    tmp_path: Path,
    db: Connection[Any],
    systemd: tuple[str, Callable[[], list[str]]],
    options: tuple[str, ...],
) -> None:
    address, hear = systemd
    with WorkerProcesses(watched, tmp_path, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "500000"}) as workers:
        worker = workers.start(*SILENT, *QUICK, *options)
        wait_until(lambda: "READY=1" in hear(), STARTS)
        assert pids(db), "it is ready only after it has registered"
        job = enqueue(db, "silence")
        wait_until(lambda: state_of(db, job) == "completed")
        # no handler sees the socket, because a program that it starts could then speak for the worker
        assert db.execute("select result from pgqueue.jobs where id = %s", [job]).fetchone() == ("unset",)
        wait_until(lambda: hear().count("WATCHDOG=1") >= 4)
        doing = "of 2 worker processes at work" if options else "of 10 slots in use"
        assert [line for line in hear() if line.startswith("STATUS=") and doing in line]
        worker.signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
        assert hear().count("STOPPING=1") == hear().count("READY=1") == 1


def test_the_watchdog_hears_nothing_while_the_loop_is_blocked(
    watched: str, tmp_path: Path, port: int, db: Connection[Any], systemd: tuple[str, Callable[[], list[str]]]
) -> None:
    address, hear = systemd
    with (
        WorkerProcesses(watched, tmp_path, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}) as workers,
        gates(watched, 1),
    ):
        serving(workers, port, *BLOCKING, *QUICK, "--blocked", "0")
        enqueue(db, "block", gate=1)
        wait_until(lambda: ask(port, "livez")[0] == 503)
        before = hear().count("WATCHDOG=1")
        for _ in wait_and_repeat(1.5):
            assert hear().count("WATCHDOG=1") <= before + 1


# ---------------------------------------------------------------- the page


def test_systemd_accepts_the_unit_of_the_page(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    [unit] = re.findall(r"```ini\n(\[Unit\].*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in ("Type=notify", "WatchdogSec=", "NotifyAccess=main"):
        assert line in unit
    # The unit names a program and a user of another machine.
    there = unit.replace("/srv/shop/.venv/bin/pgq", "/bin/true").replace("User=shop", "User=root")
    there = re.sub(r"^(WorkingDirectory|EnvironmentFile)=.*\n", "", there, flags=re.MULTILINE)
    (tmp_path / "shop-worker.service").write_text(there)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "shop-worker.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in checked.stderr.splitlines() if "shop-worker" in line]
    assert (checked.returncode, complaints) == (0, []), checked.stderr
