"""What a handler does after its own transaction has completed its job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue import App, Job
from pgqueue.config import WorkerSettings
from pgqueue.errors import StepRefusedError
from pgqueue.worker.worker import Worker
from tests.factories import look


class FailingPool(ConnectionPool):
    def putconn(self, conn: Connection[Any]) -> None:
        super().putconn(conn)
        raise OSError("the connection cannot be given back")


class AsyncFailingPool(AsyncConnectionPool):
    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        await super().putconn(conn)
        raise OSError("the connection cannot be given back")


def drain(app: App) -> None:
    Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.1)).run()


def test_an_error_when_the_connection_is_given_back_after_the_commit_does_not_reach_the_handler(
    app: App, db: Connection[Any], dsn: str
) -> None:
    went_on = []

    @app.task(name="pay", retry=False)
    def pay(job: Job, fails: bool) -> None:
        with FailingPool(dsn, min_size=1, max_size=1) as pool:
            with job.transaction(using=pool):
                if fails:
                    raise ValueError("in the block")
                job.finish("paid")
            went_on.append(job.id)

    @app.task(name="apay", retry=False)
    async def apay(job: Job, fails: bool) -> None:
        async with AsyncFailingPool(dsn, min_size=1, max_size=1, open=False) as pool:
            async with job.atransaction(using=pool):
                if fails:
                    raise ValueError("in the block")
                job.finish("paid")
            went_on.append(job.id)

    paid = [task.enqueue(fails=False).id for task in (pay, apay)]
    failed = [task.enqueue(fails=True).id for task in (pay, apay)]
    drain(app)
    assert sorted(went_on) == paid
    assert [look(db, job_id, "state, result") for job_id in paid] == [("completed", "paid")] * 2
    assert [look(db, job_id, "state") for job_id in failed] == ["dead"] * 2


def test_a_step_after_the_completion_is_refused_before_its_function_is_called(
    app: App, db: Connection[Any]
) -> None:
    called: list[str] = []
    refused: list[str] = []

    @app.task(name="pay", retry=False)
    def pay(job: Job) -> None:
        with job.transaction():
            job.step("inside", called.append, "inside")
        for take in (job.step, job.step_transaction):
            with pytest.raises(StepRefusedError, match="has completed the job") as error:
                take("after", lambda *_: called.append("after"))
            refused.append(error.value.code)

    @app.task(name="apay", retry=False)
    async def apay(job: Job) -> None:
        async with job.atransaction():
            await job.astep("inside", called.append, "inside")
        with pytest.raises(StepRefusedError, match="has completed the job") as error:
            await job.astep("after", called.append, "after")
        refused.append(error.value.code)

    jobs = [task.enqueue().id for task in (pay, apay)]
    drain(app)
    assert called == ["inside"] * 2
    assert len(refused) == 3
    assert [look(db, job_id, "state") for job_id in jobs] == ["completed"] * 2


@pytest.mark.parametrize("is_async", [False, True])
def test_a_transaction_in_the_function_of_a_step_is_refused_before_anything_is_sent(
    app: App, db: Connection[Any], is_async: bool
) -> None:
    reached: list[str] = []

    @app.task(name="pay", retry=False)
    def pay(job: Job) -> str:
        def complete() -> None:
            with job.transaction():
                reached.append("the block")

        with pytest.raises(StepRefusedError, match="the function of a step is running"):
            job.step("complete", complete)
        return "went on"

    @app.task(name="apay", retry=False)
    async def apay(job: Job) -> str:
        async def complete() -> None:
            async with job.atransaction():
                reached.append("the block")

        with pytest.raises(StepRefusedError, match="the function of a step is running"):
            await job.astep("complete", complete)
        return "went on"

    job_id = (apay if is_async else pay).enqueue().id
    drain(app)
    assert look(db, job_id, "state, result") == ("completed", "went on")
    assert reached == []


def test_a_thread_that_a_handler_has_left_behind_begins_no_step_after_the_handler(
    app: App, db: Connection[Any]
) -> None:
    called: list[str] = []
    refused: list[str] = []
    threads: list[threading.Thread] = []
    is_over = threading.Event()

    def leave(take: Callable[[], object]) -> None:
        def run() -> None:
            is_over.wait(60)
            with pytest.raises(StepRefusedError, match="its handler has ended") as error:
                take()
            refused.append(error.value.code)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    @app.task(name="left", retry=False)
    def left(job: Job) -> None:
        leave(lambda: job.step("late", called.append, "late"))

    @app.task(name="aleft", retry=False)
    async def aleft(job: Job) -> None:
        leave(lambda: asyncio.run(job.astep("late", called.append, "late")))  # type: ignore[arg-type]

    @app.task(name="failed", retry=False)
    def failed(job: Job) -> None:
        leave(lambda: job.step("late", called.append, "late"))
        raise ValueError("the handler ends")

    jobs = [task.enqueue().id for task in (left, aleft, failed)]
    drain(app)
    is_over.set()
    for thread in threads:
        thread.join(60)
    assert (called, len(refused)) == ([], 3)
    assert [look(db, job_id, "state") for job_id in jobs] == ["completed", "completed", "dead"]
