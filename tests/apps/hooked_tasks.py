"""Tasks with hooks, and tasks that take chunks, for the process tests. They write notes about each call to a file.

The environment variable with the name in NOTES contains the path of this file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tenacity import wait_fixed

from pgqueue import App, Call, Cancel, Dead, Failure, Job, Retry, RetryPolicy, Snooze

NOTES = "PGQUEUE_TEST_NOTES"
TWICE = RetryPolicy(wait=wait_fixed(0.02), max_attempts=2)

app = App()


def note(*words: object) -> None:
    notes = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(notes, (" ".join(str(word) for word in words) + "\n").encode())
    finally:
        os.close(notes)


# ---------------------------------------------------------------- hooks


@app.task(name="doom_async", retry=TWICE)
async def doom_async(op: int) -> None:
    await asyncio.sleep(0)
    raise ValueError(f"op {op}")


@app.task(name="doom_thread", retry=TWICE)
def doom_thread(op: int) -> None:
    raise ValueError(f"op {op}")


@app.task(name="doom_process", retry=TWICE, executor="process")
def doom_process(op: int) -> None:
    raise ValueError(f"op {op}")


@app.task(name="fine", keep="none")
async def fine(op: int) -> None: ...


@app.task(name="booked", keep="failures")
def booked(op: int, job: Job) -> None:
    with job.transaction() as connection:
        connection.execute("select 1")


@app.task(name="kill_worker", retry=False)
def kill_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.on_dead
def note_dead(job: Job, failure: Failure) -> None:
    note("dead", job.id, failure.reason, failure.error.replace(" ", "_"))


@app.on_dead
def fail_always(job: Job, failure: Failure) -> None:
    raise RuntimeError("this hook is broken")


@doom_async.on_failed
async def note_failed(job: Job, failure: Failure) -> None:
    await asyncio.sleep(0)
    note("failed", job.id, job.attempt)


@fine.on_completed
@booked.on_completed
def note_completed(job: Job) -> None:
    note("completed", job.id, job.args["op"])


@kill_worker.on_stalled
async def note_stalled(job: Job, failure: Failure) -> None:
    note("stalled", job.id, failure.reason)


# ---------------------------------------------------------------- middleware


@app.middleware
async def note_layers(call: Call) -> AsyncIterator[None]:
    if not call.job.task.startswith("layered"):
        yield
        return
    note("before", call.job.id, call.arguments["op"])
    call.arguments["op"] += 1
    try:
        yield
    except LookupError:
        note("after", call.job.id, "LookupError")
        raise Cancel("middleware says so") from None
    note("after", call.job.id, call.result)


@app.task(name="layered_async")
async def layered_async(op: int) -> int:
    return [op][op - 2]


@app.task(name="layered_thread")
def layered_thread(op: int) -> int:
    return [op][op - 2]


@app.task(name="layered_process", executor="process")
def layered_process(op: int) -> int:
    return [op][op - 2]


# ---------------------------------------------------------------- chunks


@dataclass
class Planned:
    op: int
    plan: str


def outcome_of(item: Planned, job: Job) -> Any:  # noqa: PLR0911
    match item.plan:
        case "nothing":
            return None
        case "value":
            return {"op": item.op}
        case "error":
            return ValueError(f"op {item.op}")
        case "retry" if job.attempt == 1:
            return Retry(after=0.01)
        case "snooze" if time.time() - job.created_at.timestamp() < 0.3:
            return Snooze(0.1)
        case "cancel":
            return Cancel(f"op {item.op}")
        case "dead":
            return Dead(f"op {item.op}")
        case "unstorable":
            return object()
    return {"op": item.op, "attempt": job.attempt}


def sort_out(items: list[Planned], jobs: list[Job]) -> list[Any]:
    assert [job.args for job in jobs] == [{"op": item.op, "plan": item.plan} for item in items]
    note("chunk", len(items))
    return [outcome_of(item, job) for item, job in zip(items, jobs, strict=True)]


@app.task(name="chunk_async", chunk=20, chunk_wait="30ms", retry=TWICE)
async def chunk_async(items: list[Planned], jobs: list[Job]) -> list[Any]:
    await asyncio.sleep(0.001)
    return sort_out(items, jobs)


@app.task(name="chunk_thread", chunk=20, chunk_wait=0.03, retry=TWICE)
def chunk_thread(items: list[Planned], jobs: list[Job]) -> list[Any]:
    return sort_out(items, jobs)


@app.task(name="chunk_process", chunk=20, chunk_wait=0.03, retry=TWICE, executor="process")
def chunk_process(items: list[Planned], jobs: list[Job]) -> list[Any]:
    return sort_out(items, jobs)
