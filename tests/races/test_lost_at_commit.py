"""A race between the loss of a lease and the COMMIT by which a handler completes its job itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Job
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, NothingToSettle
from pgqueue.worker.running.runner import Runner
from tests.factories import add_jobs
from tests.waiting import until
from tests.worker_by_hand import Hand

# The COMMIT of a transaction that has inserted a row into ``slow`` waits until the lock is free.
SLOW_COMMIT = """
create table slow ();
create function wait_for_test() returns trigger language plpgsql as
$$begin perform pg_advisory_xact_lock(4711); return null; end$$;
create constraint trigger wait_for_test after insert on slow deferrable initially deferred
for each row execute function wait_for_test()
"""


@pytest.mark.parametrize("way", ["async", "thread", "async on a thread"])
def test_a_handler_whose_commit_is_sent_is_not_interrupted_if_its_lease_is_lost(
    dsn: str, db: Connection[Any], way: str
) -> None:
    """The COMMIT is made, so an interruption would tell the handler of a failure that has not happened."""
    app, told, done = App(dsn), list[object](), list[Conclusion]()

    async def awaits(job: Job) -> None:
        try:
            async with job.atransaction() as connection:
                await connection.execute("insert into slow default values")
            told.append("committed")
        except BaseException as error:
            told.append(error)
            raise

    def calls(job: Job) -> None:
        try:
            with job.transaction() as connection:
                connection.execute("insert into slow default values")
            told.append("committed")
        except BaseException as error:
            told.append(error)
            raise

    declare = app.task(name="t", executor="async" if way == "async" else "thread")
    declare(calls) if way == "thread" else declare(awaits)
    db.execute(SLOW_COMMIT)
    hand = Hand(db, ["t"])
    [job] = add_jobs(db)
    [attempt] = hand.claim()

    def note(_: Attempt, conclusion: Conclusion) -> None:
        done.append(conclusion)

    async def play() -> None:
        runner = Runner(app, slots=1, executor="async", app_path=None, crash_limit=3, done=note)
        db.execute("select pg_advisory_lock(4711)")
        runner.take([attempt])
        await until(
            lambda: (
                db.execute("select from pg_locks where locktype = 'advisory' and not granted").fetchone()
                is not None
            )
        )
        runner.lose()
        # An interruption that was sent arrives before the handler sees the answer to its COMMIT.
        await asyncio.sleep(0)
        db.execute("select pg_advisory_unlock(4711)")
        async with asyncio.timeout(20):
            await runner.wait_idle()
        await until(lambda: bool(told))
        runner.close()
        await app.aclose()

    asyncio.run(play())
    assert told == ["committed"]
    assert done == [NothingToSettle.COMMITTED]
    assert db.execute("select state from pgqueue.jobs where id = %s", [job]).fetchone() == ("completed",)
