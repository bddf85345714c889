"""Handlers that run in child processes and do things that a worker must survive. None of them needs a database."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from pgqueue import App

PATH = "tests.apps.child_tasks:app"
HOUR = "3600"

app = App("postgresql://nowhere")


@app.task(name="nothing")
def nothing() -> None: ...


@app.task(name="read_stdin")
def read_stdin() -> str:
    return subprocess.run(["cat"], stdout=subprocess.PIPE, text=True, check=True).stdout + sys.stdin.read()


@app.task(name="look_for_the_way")
def look_for_the_way() -> int:
    """Returns how often the socket to the worker is among the open files of a program that inherits all files, and of a forked process."""
    way = str(Path(f"/proc/self/fd/{sys.argv[2]}").readlink())
    assert way.startswith("socket:")
    listing = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return listing.count(way) + pool.apply(open_files).count(way)


def open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue  # the descriptor that iterdir() itself has opened is already closed
    return found


@app.task(name="pool")
def pool() -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return workers.map(abs, [-1, 2])


@app.task(name="terminate")
def terminate() -> int | None:
    """Forks ten processes, and terminates each of them immediately, perhaps before it has run any code. Returns their common exit code."""
    codes = set()
    for _ in range(10):
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(10)
        codes.add(process.exitcode)
        process.kill()
    [code] = codes
    return code


@app.task(name="terminate_program")
def terminate_program() -> int:
    with subprocess.Popen(["sleep", HOUR]) as program:
        program.terminate()
        return program.wait()


@app.task(name="fork_and_end")
def fork_and_end(pids: str, code: int) -> None:
    """Ends this process with this exit code, or by a signal if the code is negative. A forked process lives on, with all open files."""
    if os.fork() == 0:
        time.sleep(3600)
        os._exit(0)
    start(pids)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


@app.task(name="fork_and_wait")
def fork_and_wait(pids: str) -> None:
    if os.fork() == 0:
        time.sleep(3600)
        os._exit(0)
    start(pids)
    time.sleep(3600)


@app.task(name="return_twice")
def return_twice(pids: str) -> int:
    pid = os.fork()
    if pid:
        note(pids, pid)
    return pid


def forking(pids: str) -> str:
    pid = os.fork()
    if not pid:
        raise ValueError("The fork has no argument.")
    note(pids, pid)
    return pids


@dataclass
class Forking:
    pids: Annotated[str, BeforeValidator(forking)]


@app.task(name="fork_while_it_is_decoded", chunk=1)
async def fork_while_it_is_decoded(items: list[Forking]) -> None: ...


@app.task(name="hold_signals")
def hold_signals(pids: str) -> str:
    """Waits until the test has sent a signal to the process group of this process. Then returns, so the signal has not ended it."""
    note(pids, os.getpid())
    event = threading.Event()
    while not Path(pids + ".sent").exists():
        event.wait(0.01)
    return "undisturbed"


def start(pids: str) -> None:
    """Starts a program that runs for an hour unless something ends it. Writes the ids of this process and of the program to a file."""
    note(pids, os.getpid(), subprocess.Popen(["sleep", HOUR]).pid)


def note(pids: str, *numbers: int) -> None:
    path = Path(pids + ".new")
    path.write_text(" ".join(map(str, numbers)))
    path.rename(pids)


if __name__ == "__main__":  # a test kills this process while the handler runs
    from tests.stages.test_children import perform

    perform("fork_and_wait", executor="process", pids=sys.argv[1])
