"""Handlers that sleep, and handlers that wait for signals. They write a line for each point that they come to (step_functions.py)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from pgqueue import App, Job, Signal
from pgqueue.errors import SignalTimeoutError
from tests.apps.step_functions import die_at, is_open, note

PATH = "tests.apps.waiting_tasks:app"

app = App(name="waiting")


def did(what: str) -> str:
    note("did", what)
    return what


# ---------------------------------------------------------------- sleeps


@app.task(name="sleeping", retry=False)
def sleeping(job: Job, delay: float) -> str:
    note("begun", job.attempt)
    job.step("before", did, "before")
    job.sleep("nap", delay)
    return job.step("after", did, "after")


@app.task(name="sleeping_async", retry=False)
async def sleeping_async(job: Job, delay: float) -> str:
    note("begun", job.attempt)
    await job.astep("before", did, "before")
    await job.asleep("nap", delay)
    return await job.astep("after", did, "after")


@app.task(name="often", retry=False)
def often(job: Job, count: int) -> None:
    for n in range(count):
        job.sleep(("nap", n), 0)


@app.task(name="failing_between", retry=[0.0])
def failing_between(job: Job) -> None:
    """Fails once before each of its three sleeps, although it has only two attempts."""
    for n in range(3):
        if job.attempt == 1:
            raise ValueError(f"before sleep {n}")
        job.sleep(("nap", n), 0)


@app.task(name="late", retry=False)
def late(job: Job) -> None:
    job.sleep("nap", "1h")


# ---------------------------------------------------------------- waits


def shown(said: Signal | None) -> list[Any] | None:
    return None if said is None else [said.name, said.payload, said.sender, said.key]


@app.task(name="waiting", retry=False)
def waiting(job: Job, timeout: float | None = None) -> Any:
    note("begun", job.attempt)
    said = job.wait_for("approved", "refused", timeout=timeout, default=None)
    note("got", shown(said))
    return shown(said)


@app.task(name="waiting_async", retry=False)
async def waiting_async(job: Job, timeout: float | None = None) -> Any:
    note("begun", job.attempt)
    said = await job.await_for("approved", "refused", timeout=timeout, default=None)
    note("got", shown(said))
    return shown(said)


@app.task(name="branching", retry=False)
def branching(job: Job) -> str:
    try:
        job.wait_for("approved", timeout=0)
    except SignalTimeoutError as error:
        return f"not {error.names[0]}"
    return "approved"


@app.task(name="impatient", retry=[0.0] * 3)
def impatient(job: Job) -> None:
    job.wait_for("approved", timeout=0)


@app.task(name="several", retry=False)
def several(job: Job, count: int) -> list[Any]:
    return [job.wait_for("page", key=n).payload for n in range(count)]


@app.task(name="failing_after", retry=[0.0] * 2)
def failing_after(job: Job) -> Any:
    """Fails once after it has got its signal."""
    said = job.wait_for("approved")
    note("got", said.payload)
    if job.step("lease", lambda: job.lease_id) == job.lease_id:
        raise ValueError("after the signal")
    return said.payload


@app.task(name="same_name", retry=False)
def same_name(job: Job) -> None:
    job.wait_for("approved", timeout=0, default=None)
    job.wait_for("approved", timeout=0, default=None)


# ---------------------------------------------------------------- several things at the same time


@app.task(name="gathered", retry=False)
async def gathered(job: Job, way: str) -> Any:
    """Sleeps, waits for a signal, and takes a long step, all at the same time."""
    note("begun", job.attempt)

    async def long() -> int:
        await asyncio.sleep(0.2)
        note("did", "long")
        return 1

    async def branch() -> list[int]:
        return [await job.astep("long", long), await job.astep("more", lambda: 2)]

    calls = (job.asleep("nap", 0.3), job.await_for("go"), branch())
    if way == "gather":
        _, said, steps = await asyncio.gather(*calls)
    else:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]  # type: ignore[arg-type]
        _, said, steps = (task.result() for task in tasks)
    return [said.payload, steps]


@app.task(name="grouped")
async def grouped(job: Job) -> None:
    """Waits in a task of a group for a signal that does not come."""
    async with asyncio.TaskGroup() as group:
        group.create_task(job.await_for("approved", timeout=0))


@app.task(name="threaded", retry=False)
def threaded(job: Job) -> Any:
    """Takes a long step on another thread while it sleeps itself."""
    found: list[int] = []

    def long() -> int:
        time.sleep(0.2)
        note("did", "long")
        return 1

    thread = threading.Thread(target=lambda: found.append(job.step("long", long)))
    thread.start()
    job.sleep("nap", 0)
    thread.join()
    return found


@app.task(name="raced", retry=False)
async def raced(job: Job) -> str:
    """Gives a sleep up as soon as a step has ended."""
    nap = asyncio.ensure_future(job.asleep("nap", "1h"))
    step = asyncio.ensure_future(job.astep("quick", did, "quick"))
    done, _ = await asyncio.wait({nap, step}, return_when=asyncio.FIRST_COMPLETED)
    nap.cancel()
    await asyncio.wait({nap})
    await job.await_for("go")
    return "step" if step in done else "sleep"


# ---------------------------------------------------------------- what is refused


async def _on_a_loop(job: Job) -> None:
    job.sleep("nap", 1)


def _in_a_transaction(job: Job) -> None:
    with job.transaction():
        job.wait_for("approved")


def _after_a_transaction(job: Job) -> None:
    with job.transaction():
        pass
    job.sleep("nap", 1)


WRONG: dict[str, Callable[[Job], Any]] = {
    "in a step": lambda job: job.step("a", lambda: job.sleep("nap", 1)),
    "on a loop": lambda job: asyncio.run(_on_a_loop(job)),
    "in a transaction": _in_a_transaction,
    "after a transaction": _after_a_transaction,
    "no names": lambda job: job.wait_for(),
    "a reserved name": lambda job: job.wait_for("gather:7"),
    "a step of this name": lambda job: [job.step("nap", did, "nap"), job.sleep("nap", 1)],
    "a negative delay": lambda job: job.sleep("nap", -1),
}


@app.task(name="wrong", retry=False)
def wrong(job: Job, how: str) -> None:
    WRONG[how](job)


@app.task(name="chunked", chunk=2, retry=False)
def chunked(jobs: list[Job]) -> None:
    jobs[0].sleep("nap", 1)


SWALLOWS: dict[str, Callable[[Job], Any]] = {
    "sleep": lambda job: job.sleep("nap", 1),
    "wait": lambda job: job.wait_for("approved"),
}


@app.task(name="swallowing", retry=[0.0] * 3)
def swallowing(job: Job, how: str) -> str:
    try:
        SWALLOWS[how](job)
    except:  # noqa: E722 - the mistake that this handler shows
        note("swallowed")
    return "went on"


@app.task(name="swallowing_and_going_on", retry=[0.0] * 3)
def swallowing_and_going_on(job: Job) -> None:
    try:
        job.sleep("nap", 0)
    except BaseException:  # noqa: BLE001
        note("swallowed")
    job.step("after", did, "after")


# ---------------------------------------------------------------- killed at one point


@app.task(name="killed", retry=[0.0] * 8)
def killed(job: Job, point: str) -> Any:
    die_at(job, point, "before the sleep")
    job.sleep("nap", 0)
    die_at(job, point, "after the sleep")
    said = job.wait_for("go", timeout="1h")
    die_at(job, point, "after the wait")
    return said.payload


@app.task(name="killed_async", retry=[0.0] * 8)
async def killed_async(job: Job, point: str) -> Any:
    die_at(job, point, "before the sleep")
    await job.asleep("nap", 0)
    die_at(job, point, "after the sleep")
    said = await job.await_for("go", timeout="1h")
    die_at(job, point, "after the wait")
    return said.payload


@app.task(name="slow", retry=[0.0] * 8)
def slow(job: Job) -> Any:
    """Waits until a file is there, outside of any step, and then for a signal."""
    note("inside", job.attempt)
    while not is_open():
        time.sleep(0.02)
    return job.wait_for("go").payload
