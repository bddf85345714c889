"""The small parts of a worker, each tested alone: its attempts, the outcomes that it writes, the last progress of its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.ending import Ending
from pgqueue.worker.job_lines import LineBuffer
from pgqueue.worker.running.call import SINGLE
from pgqueue.worker.running.children import Children
from pgqueue.worker.running.progress_writer import ProgressWriter
from pgqueue.worker.settler import OUTCOMES_AT_ONCE, Settler
from tests.factories import add_jobs
from tests.worker_by_hand import Hand


def linked(dsn: str, play: Callable[[Link], Awaitable[None]]) -> None:
    """Calls ``play`` with a link to the database, which is closed afterwards."""

    async def go() -> None:
        link = Link(dsn, "pgqueue test", Outage(dsn))
        try:
            await asyncio.wait_for(play(link), 60)
        finally:
            await link.close()

    asyncio.run(go())


def settled(dsn: str, hand: Hand, outcomes: list[tuple[Attempt, Outcome]]) -> list[Attempt]:
    """Lets a settler write outcomes that arrive together. Returns the attempts whose slots were freed."""
    freed: list[Attempt] = []

    async def play(link: Link) -> None:
        settler = Settler(link, freed.extend)
        settler.worker_id = hand.id
        for attempt, outcome in outcomes:
            settler.add(attempt, outcome)
        settler.stop()
        await settler.run()

    linked(dsn, play)
    return freed


def test_more_outcomes_than_one_statement_takes_are_all_written(dsn: str, db: Connection[Any]) -> None:
    hand = Hand(db, ["t"])
    jobs = add_jobs(db, count=2 * OUTCOMES_AT_ONCE + 200)
    attempts = hand.claim(len(jobs))
    freed = settled(dsn, hand, [(attempt, COMPLETED) for attempt in attempts])
    assert sorted(attempt.id for attempt in freed) == jobs
    assert db.execute("select state, count(*) from pgqueue.jobs group by 1").fetchall() == [
        ("completed", len(jobs))
    ]


def test_outcomes_are_written_in_whatever_order_they_arrive(dsn: str, db: Connection[Any]) -> None:
    """complete.sql finds the lease_id of a job by the position of the job's id in a sorted list of ids."""
    hand = Hand(db, ["t"])
    jobs = add_jobs(db, count=9)
    attempts = hand.claim()
    db.execute("update pgqueue.jobs_live set lease_id = id * 10")
    for attempt in attempts:
        attempt.lease_id = attempt.id * 10
    settled(dsn, hand, [(attempt, COMPLETED) for attempt in reversed(attempts)])
    assert db.execute("select count(*) from pgqueue.jobs where state = 'completed'").fetchone() == (
        len(jobs),
    )


@pytest.mark.parametrize("refused", [0, 1, 2])
def test_the_other_outcomes_are_written_if_the_database_refuses_one_outcome(
    dsn: str, db: Connection[Any], refused: int
) -> None:
    hand = Hand(db, ["t"])
    jobs = add_jobs(db, count=3)
    outcomes = [(attempt, Outcome.completed("1")) for attempt in hand.claim()]
    outcomes[refused] = (outcomes[refused][0], Outcome.completed('"\\u0000"'))
    freed = settled(dsn, hand, outcomes)
    assert len(freed) == 3
    states = dict(db.execute("select id, state from pgqueue.jobs").fetchall())
    assert states == {job: "dead" if job == outcomes[refused][0].id else "completed" for job in jobs}


def test_an_attempt_is_lost_when_the_same_job_is_claimed_again(db: Connection[Any]) -> None:
    """A crash of the server has undone the first claim. The handler of the first claim must be stopped, and its end must not free the slot of the second claim."""
    hand = Hand(db, ["t"])
    add_jobs(db)
    with db.transaction(force_rollback=True):
        [former] = hand.claim()
    [later] = hand.claim()
    stopped: list[Attempt] = []
    held = InFlight(5, {"default": 2}, stopped.extend)
    held.add([former])
    held.add([later])
    assert (former.ending, later.ending) == (Ending.LOST, Ending.NONE)
    assert stopped == [former]
    assert (len(held), held.room(0), held.queue_room("default")) == (1, 4, 1)
    held.remove([former])
    assert (len(held), held.queue_room("default")) == (1, 1)
    held.remove([later])
    assert (len(held), held.room(0), held.queue_room("default")) == (0, 5, 2)


def test_job_transaction_writes_the_last_progress_of_the_job(app: App, db: Connection[Any]) -> None:
    @app.task(name="t")
    def t() -> None: ...

    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    lease = AttemptLease(attempt, app)
    lease.progress(Progress.of(3, 10, None))
    lease.progress(Progress.of(10, 10, "done"))
    with lease.transaction(None, None):
        pass
    [(state, progress)] = db.execute("select state, progress - 'at' from pgqueue.jobs").fetchall()
    assert (state, progress) == ("completed", {"done": 10, "total": 10, "message": "done"})


def test_progress_is_not_lost_if_it_is_reported_while_the_former_progress_is_written(
    dsn: str, db: Connection[Any]
) -> None:
    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    attempt.progress = Progress(1)

    async def play(link: Link) -> None:
        reporter = ProgressWriter(link, lambda: [attempt], LineBuffer())
        reporter.worker_id = hand.id
        await link.connection()
        writing = asyncio.ensure_future(reporter.once())
        await asyncio.sleep(0)  # the write has begun, and waits for the database
        assert not writing.done()
        attempt.progress = Progress(2)
        await writing
        assert attempt.progress == Progress(2)
        await reporter.once()
        assert attempt.progress is None

    linked(dsn, play)
    assert db.execute("select progress ->> 'done' from pgqueue.jobs_live").fetchone() == ("2",)


def test_the_time_before_a_child_process_is_started_again_grows_with_each_failure() -> None:
    children = Children("nowhere", 3, lambda *_: None, SINGLE)
    pauses = []
    for _ in range(20):
        children._note_failure(OSError("no"))
        pauses.append(children._not_before - monotonic())
    for number, pause in enumerate(pauses):
        whole = min(2.0**number, 60.0)
        assert 0.75 * whole - 1 < pause <= whole
    assert pauses[0] < pauses[3] < pauses[6]
