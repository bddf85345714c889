"""Handlers that take steps. They write a line for each call of a step's function, and for the values that they got from the steps.

The environment variable with the name in NOTES contains the path of the file with these lines.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from psycopg import Connection

from pgqueue import App, Job, Snooze
from tests.apps.step_functions import (
    NOTES,
    Page,
    abook,
    afetch,
    book,
    fail_once,
    fetch,
    is_open,
    note,
    shown,
)

PATH = "tests.apps.step_tasks:app"

app = App(name="steps")


@app.task(name="pages", retry=[0.0] * 3)
def pages(job: Job, count: int) -> None:
    found = [job.step(("page", n), fetch, n) for n in range(1, count + 1)]
    note("got", shown(found))
    fail_once(job)


@app.task(name="pages_async", retry=[0.0] * 3)
async def pages_async(job: Job, count: int) -> None:
    found = [await job.astep(("page", n), fetch if n % 2 else afetch, n) for n in range(1, count + 1)]
    note("got", shown(found))
    fail_once(job)


@app.task(name="gathered", retry=[0.0] * 3)
async def gathered(job: Job, count: int) -> None:
    found = await asyncio.gather(*(job.astep(("page", n), afetch, n) for n in range(1, count + 1)))
    async with asyncio.TaskGroup() as group:
        more = [group.create_task(job.astep(("more", n), afetch, n)) for n in range(1, count + 1)]
    note("got", shown([*found, *(task.result() for task in more)]))
    fail_once(job)


@app.task(name="threaded", retry=[0.0] * 3)
def threaded(job: Job, count: int) -> None:
    """Takes each step in a thread that the handler has started."""
    found: dict[int, Page] = {}

    def take(n: int) -> None:
        found[n] = job.step(("page", n), fetch, n)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(1, count + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    note("got", shown([found[n] for n in sorted(found)]))
    fail_once(job)


@app.task(name="chunked", chunk=4, retry=[0.0] * 3)
def chunked(jobs: list[Job]) -> list[Any]:
    return [job.step("page", fetch, 1).number for job in jobs]


# ---------------------------------------------------------------- held inside a step


@app.task(name="gate", retry=[0.0] * 8)
def gate(job: Job) -> None:
    def inside() -> int:
        note("inside", job.attempt)
        while not is_open():
            time.sleep(0.02)
        return job.lease_id

    job.step("a", inside)


@app.task(name="gate_async", retry=[0.0] * 8)
async def gate_async(job: Job) -> None:
    async def inside() -> int:
        note("inside", job.attempt)
        while not is_open():
            await asyncio.sleep(0.02)
        return job.lease_id

    await job.astep("a", inside)


# ---------------------------------------------------------------- errors

WRONG: dict[str, Callable[[Job], Any]] = {
    "twice": lambda job: [job.step("a", fetch, 1), job.step("a", fetch, 2)],
    "large": lambda job: job.step("a", lambda: "x" * 300_000),
    "not json": lambda job: job.step("a", lambda: {1, object()}),
    "nul": lambda job: job.step("a", lambda: "\x00"),
    "wrong type": lambda job: job.step("a", wrong_type),
    "async": lambda job: job.step("a", afetch, 1),
    "name": lambda job: job.step(7, fetch, 1),  # type: ignore[arg-type]
}


def wrong_type() -> int:
    return "seven"  # type: ignore[return-value]


@app.task(name="wrong", retry=[0.0] * 2)
def wrong(job: Job, how: str) -> None:
    WRONG[how](job)


AWRONG: dict[str, Callable[[Job], Awaitable[Any]]] = {
    "twice": lambda job: asyncio.gather(job.astep("a", afetch, 1), job.astep("a", afetch, 1)),
}


@app.task(name="wrong_async", retry=[0.0] * 2)
async def wrong_async(job: Job, how: str) -> None:
    if how == "blocking":
        job.step("a", fetch, 1)
    await AWRONG[how](job)


# ---------------------------------------------------------------- attempts that go on


def did(*what: object) -> int:
    note("did", *what)
    return 1


@app.task(name="stumbling", retry=[0.0])
def stumbling(job: Job) -> None:
    """Fails after each new step, five times, although it has two attempts."""
    for n in range(5):
        if job.step(("n", n), lambda: job.lease_id) == job.lease_id:
            raise ValueError(f"after step {n}")


@app.task(name="stuck", retry=[0.0])
def stuck(job: Job) -> None:
    job.step("a", lambda: 1)
    raise ValueError("after the only step")


@app.task(name="nothing", retry=[0.0])
def nothing(job: Job) -> None:
    note("got", job.step("a", lambda: note("nothing")))
    fail_once(job)


def number(text: str) -> int:
    return len(text)


def words(text: str) -> list[str]:
    return [text]


@app.task(name="changing", retry=[0.0])
def changing(job: Job, what: str) -> None:
    if job.last_error is None and job.attempt == 1 and not Path(os.environ[NOTES]).exists():
        note("first")
        job.step("a", number, "x")
        raise ValueError("once")
    if what == "arguments":
        job.step("a", number, "y")
    else:
        job.step("a", words, "x")


@app.task(name="reordered", retry=[0.0])
def reordered(job: Job) -> None:
    def take(name: str) -> str:
        note("did", name)
        return name

    if job.attempt == 1:
        job.step("a", take, "a")
        job.step("b", take, "b")
        raise ValueError("once")
    note("got", *(job.step(name, take, name) for name in ("b", "new", "a")))


@app.task(name="snoozing")
def snoozing(job: Job) -> None:
    value = job.step("a", did)
    note("got", value)
    with app.connection() as connection:
        [(times,)] = connection.execute(
            "select count(*) from pgqueue.transitions where job_id = %s", [job.id]
        ).fetchall()
    if not times:
        raise Snooze(0.1)


@app.task(name="cancelling")
def cancelling(job: Job) -> None:
    with app.connection() as connection:
        connection.execute("select pgqueue.cancel(%s)", [job.id])
    job.step(("n", 1), did, 1)
    job.step(("n", 2), did, 2)


@app.task(name="cutting", retry=False)
def cutting(job: Job) -> None:
    for n in range(3):
        job.step(("n", n), did, n)
        with app.connection() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgqueue steps'"
                " and datname = current_database()"
            )


@app.task(name="robbed", retry=[0.0])
def robbed(job: Job) -> None:
    """Between its first and its second step, the row of the job gets the next lease_id, as after a rescue and another claim."""
    job.step(("n", 1), did, 1)
    if job.attempt == 1:
        with app.connection() as connection:
            connection.execute(
                "update pgqueue.jobs_live set state = 'retrying', worker_id = null, lease_id = lease_id + 1 where id = %s",
                [job.id],
            )
    try:
        job.step(("n", 2), did, 2)
    except BaseException:  # LeaseLostError, or the interruption of the thread, whichever comes first
        note("lost")
        raise


# ---------------------------------------------------------------- steps with rows of their own, and places


@app.task(name="booking", retry=[0.0] * 3)
def booking(job: Job, count: int) -> None:
    found = [job.step_transaction(("book", n), book, n) for n in range(1, count + 1)]
    note("got", shown(found))
    fail_once(job)


@app.task(name="booking_async", retry=[0.0] * 3)
async def booking_async(job: Job, count: int) -> None:
    steps = (job.astep_transaction(("book", n), abook, n) for n in range(1, count + 1))
    note("got", shown(await asyncio.gather(*steps)))
    fail_once(job)


@app.task(name="robbed_booking", retry=[0.0])
def robbed_booking(job: Job) -> None:
    """Another worker takes the job while the function runs."""

    def lose(connection: Connection[Any]) -> None:
        connection.execute("insert into booked (n) values (%s)", [job.attempt])
        if job.attempt == 1:
            with app.connection() as other:
                other.execute(
                    "update pgqueue.jobs_live set state = 'retrying', worker_id = null, lease_id = lease_id + 1 where id = %s",
                    [job.id],
                )

    job.step_transaction("book", lose)


@app.task(name="overtaken_booking", retry=False)
def overtaken_booking(job: Job) -> None:
    """Another attempt commits the step while the function runs."""

    def overtaken(connection: Connection[Any]) -> int:
        connection.execute("insert into booked (n) values (1)")
        with app.connection() as other:
            other.execute(
                "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (%s, 1, 1, 'step', 'book', '2')",
                [job.id],
            )
        return 1

    note("got", job.step_transaction("book", overtaken))


@app.task(name="streaming", retry=[0.0])
def streaming(job: Job, upto: int, own: bool) -> None:
    """Stores how far it has come, with each row. Each attempt fails after two rows, and the job has only two attempts."""
    begun = job.saved or 0
    note("begun", begun)
    for n in range(begun + 1, upto + 1):
        with app.connection() as connection:
            connection.execute("insert into booked (n) values (%s)", [n])
            job.save(n, using=None if own else connection)
        assert job.saved == n
        if n - begun == 2:
            raise ValueError("two rows")


@app.task(name="streaming_async", retry=[0.0])
async def streaming_async(job: Job, upto: int, own: bool) -> None:
    begun = await job.asaved() or 0
    note("begun", begun)
    for n in range(begun + 1, upto + 1):
        async with app.aconnection() as connection:
            await connection.execute("insert into booked (n) values (%s)", [n])
            await job.asave(n, using=None if own else connection)
        if n - begun == 2:
            raise ValueError("two rows")


@app.task(name="saving_first", retry=[0.0])
def saving_first(job: Job, own: bool) -> None:
    """Each of the two attempts saves its place before it reads the place."""
    with app.connection() as connection:
        job.save(job.lease_id, using=None if own else connection)
    note("read own", job.saved == job.lease_id)
    fail_once(job)


@app.task(name="streaming_slowly", retry=[0.0], timeout=2, executor="process")
def streaming_slowly(job: Job, upto: int) -> None:
    """Stores how far it has come. Each attempt hangs after two rows, and the job has only two attempts."""
    begun = job.saved or 0
    for n in range(begun + 1, upto + 1):
        with app.connection() as connection:
            connection.execute("insert into booked (n) values (%s)", [n])
            job.save(n, using=connection)
        if n - begun == 2 and n < upto:
            time.sleep(60)


@app.task(name="rolled_back", retry=[0.0])
def rolled_back(job: Job) -> None:
    with app.connection() as connection:
        job.save(1, using=connection)
        raise ValueError("the place is not committed")


@app.task(name="saved_at_the_end", retry=False)
def saved_at_the_end(job: Job) -> None:
    with job.transaction() as connection:
        connection.execute("insert into booked (n) values (1)")
        job.save(1, using=connection)
