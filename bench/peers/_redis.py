"""Runs a Redis server of its own for each measurement. The server is as durable as BullMQ's page on production recommends."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import redis

if not (EXECUTABLE := shutil.which("redis-server")):
    raise ImportError("needs redis-server: apt-get install redis-server, or the package of your system")

VERSION = subprocess.run(
    [EXECUTABLE, "--version"], check=True, capture_output=True, text=True
).stdout.split()[2][2:]
PERSISTENCE = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
}  # a crash can lose the jobs of the last second
SETTINGS = f"Redis {VERSION} on a Unix socket, appendonly with everysec"
PATIENCE = 10.0


def start() -> None:
    """Stops the former server and starts an empty server. Sets ``BENCH_REDIS`` to its socket, for this process and its children."""
    stop()
    directory = Path(tempfile.mkdtemp(prefix="bench-redis-"))
    options = {"dir": str(directory), "unixsocket": str(directory / "socket"), "port": "0"} | PERSISTENCE
    command = [EXECUTABLE, *(word for name, value in options.items() for word in (f"--{name}", value))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _running.append((process, directory))
    os.environ["BENCH_REDIS"] = options["unixsocket"]
    _wait_until_ready(process)


@atexit.register
def stop() -> None:
    while _running:
        process, directory = _running.pop()
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def client() -> redis.Redis:
    return redis.Redis(unix_socket_path=os.environ["BENCH_REDIS"])


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    with client() as connected:
        while True:
            try:
                connected.ping()
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


_running: list[tuple[subprocess.Popen[bytes], Path]] = []
