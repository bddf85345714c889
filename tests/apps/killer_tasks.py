"""An app for jobs that kill the process in which they run, and for jobs that do no harm but run at the same time."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pgqueue import App

app = App()

WAYS = ("exit", "kill", "segfault")


@dataclass
class Deed:
    """``deadly``: the way, one of WAYS, in which the job kills its process. ``gate``: a file for which the job waits first."""

    n: int
    deadly: str | None = None
    gate: str | None = None


def die(how: str) -> None:
    if how == "exit":
        os._exit(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        ctypes.string_at(0)


def deadline() -> float:
    return time.monotonic() + 60


@app.task(name="threaded", retry=[0.1] * 9)
def threaded(n: int, deadly: str | None = None, gate: str | None = None) -> int:
    end = deadline()
    while gate is not None and not Path(gate).exists() and time.monotonic() < end:
        time.sleep(0.01)
    if deadly is not None:
        die(deadly)
    return os.getpid()


@app.task(name="looped", retry=[0.1] * 9)
async def looped(n: int, deadly: str | None = None, gate: str | None = None) -> int:
    end = deadline()
    while gate is not None and not Path(gate).exists() and time.monotonic() < end:
        await asyncio.sleep(0.01)
    if deadly is not None:
        die(deadly)
    return os.getpid()


@app.task(name="child", executor="process", retry=[0.1] * 9)
def child(n: int, deadly: str | None = None, gate: str | None = None) -> int:
    return threaded(n, deadly, gate)


@app.task(name="chunked", chunk=5, chunk_wait=0.05, retry=[0.1] * 9)
def chunked(deeds: list[Deed]) -> list[int]:
    return [threaded(deed.n, deed.deadly, deed.gate) for deed in deeds]


@app.task(name="chunked_child", executor="process", chunk=5, chunk_wait=0.05, retry=[0.1] * 9)
def chunked_child(deeds: list[Deed]) -> list[int]:
    return [threaded(deed.n, deed.deadly, deed.gate) for deed in deeds]


TASKS = ("threaded", "looped", "child", "chunked", "chunked_child")
