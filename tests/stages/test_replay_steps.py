"""A replay gives the handler the stored values of its steps, and ends at the first step, sleep or wait whose value is not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Job
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.replay import replay
from tests.factories import look
from tests.noted_runs import drain
from tests.stages.replays import everything, of, replayed, written
from tests.waiting import wait_until
from tests.worker_by_hand import Hand


def note(n: int) -> int:
    CALLED.append(n)
    return n


async def anote(n: int) -> int:
    return note(n)


CALLED: list[int] = []


def with_steps(app: App, db: Connection[Any], handler: Callable[..., Any]) -> int:
    """Enqueues a job of the handler, and stores the value 10 for its step ``a``, and 5 as its saved place, as its first attempt did."""
    from pgqueue.model.step_values import fingerprint
    from pgqueue.model.steps import CURSOR, Checkpoint

    CALLED.clear()
    app.task(name="t", retry=[0.0, 0.0])(handler)
    app.tasks["t"].enqueue()
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    made = Checkpoint("step", "a", "", fingerprint((1,), {}), "10")
    run(db, statements.store_checkpoints([(hand.id, attempt.id, attempt.lease_id, made)]))
    run(db, statements.save_cursor(hand.id, attempt.id, attempt.lease_id, "5"))
    assert CURSOR
    return attempt.id


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("run_steps", [False, True])
@pytest.mark.usefixtures("effects")
def test_stored_steps_are_returned_and_the_first_other_one_ends_the_replay(
    app: App, db: Connection[Any], is_async: bool, run_steps: bool
) -> None:
    def book(connection: Any, n: int) -> int:
        connection.execute("insert into public.effects values (%s)", [n])
        return n

    async def abook(connection: Any, n: int) -> int:
        await connection.execute("insert into public.effects values (%s)", [n])
        return n

    def handler(job: Job) -> list[Any]:
        place = job.saved
        job.save(place + 1)
        first, second = job.step("a", note, 1), job.step_transaction(("b", 2), book, 7)
        return [place, job.saved, first, second, job.step("c", note, 3), job.step(("d", 4), lambda: 4)]

    async def ahandler(job: Job) -> list[Any]:
        place = await job.asaved()
        await job.asave(place + 1)
        first, second = await job.astep("a", anote, 1), await job.astep_transaction(("b", 2), abook, 7)
        third = await job.astep("c", note, 3)
        return [place, await job.asaved(), first, second, third, await job.astep(("d", 4), lambda: 4)]

    job_id = with_steps(app, db, ahandler if is_async else handler)
    before = everything(db)
    findings = replayed(app, db, job_id, run_steps=run_steps)
    assert everything(db) == before
    how = [("pgqueue.saved" if one.how == "saved" else one.name, one.key, one.how) for one in findings.steps]
    assert how[:3] == [("pgqueue.saved", "6", "saved"), ("a", "", "stored"), ("b", "2", "called")]
    assert written(findings) == {"effects": [{"n": 7, "note": None}]}
    if run_steps:
        assert (findings.ended, findings.value, CALLED) == ("returned", "[5,6,10,7,3,4]", [3])
    else:
        assert (findings.ended, findings.sentence) == (
            "stopped", "The replay ended where the handler would call note(3).",
        )  # fmt: skip
        assert (findings.state, findings.error, CALLED) == (None, None, [])
        assert replay.RUN_STEPS in findings.notes


def test_a_handler_that_catches_everything_cannot_go_on_behind_a_step(app: App, db: Connection[Any]) -> None:
    def handler(job: Job) -> str:
        for n in range(3):
            try:
                job.step(("n", n), note, n)
            except BaseException:  # noqa: BLE001
                continue
        try:
            app.tasks["t"].enqueue()
        except BaseException as error:  # noqa: BLE001
            return type(error).__name__
        return "enqueued"

    findings = of(app, db, handler)
    assert findings.sentence == "The replay ended where the handler would call note(0)."
    assert findings.sessions == []


def test_parallel_steps_without_values_are_all_named(app: App, db: Connection[Any]) -> None:
    async def handler(job: Job) -> None:
        await asyncio.gather(*(job.astep(("n", n), anote, n) for n in range(3)), return_exceptions=True)

    findings = of(app, db, handler)
    assert findings.ended == "stopped"
    assert "would call anote(0)" in findings.sentence


@pytest.mark.parametrize("twin", [False, True])
def test_a_sleep_or_a_wait_that_is_not_over_ends_the_replay(
    app: App, db: Connection[Any], twin: bool
) -> None:
    def handler(job: Job) -> None:
        job.wait_for("approved", "refused")

    async def ahandler(job: Job) -> None:
        await job.asleep("nap", "1h")

    findings = of(app, db, ahandler if twin else handler)
    said = "would sleep for 3600.0 s" if twin else "would wait for the signal 'approved' or 'refused'"
    assert (findings.ended, said in findings.sentence) == ("stopped", True)


@pytest.mark.parametrize("twin", [False, True])
def test_sleeps_and_waits_that_are_over_are_listed_among_the_steps(
    app: App, db: Connection[Any], twin: bool
) -> None:
    def handler(job: Job) -> str:
        job.sleep("nap", 0.01)
        return job.wait_for("approved", "refused", key=7).name

    async def ahandler(job: Job) -> str:
        await job.asleep("nap", 0.01)
        return (await job.await_for("approved", "refused", key=7)).name

    app.task(name="t")(ahandler if twin else handler)
    handle = app.tasks["t"].enqueue()
    handle.signal("refused")
    wait_until(lambda: drain(app, "unused", "async") or look(db, handle.id) == "completed")
    before = everything(db)
    findings = replayed(app, db, handle.id)
    assert everything(db) == before
    assert (findings.ended, findings.value) == ("returned", '"refused"')
    assert [(one.name, one.key, one.how) for one in findings.steps] == [
        ("nap", "", "stored"), ("wait:approved", "7", "stored"),
    ]  # fmt: skip


def test_a_wait_for_another_job_ends_the_replay(app: App, db: Connection[Any]) -> None:
    def handler() -> None:
        app.tasks["t"].enqueue().result(timeout=60)

    findings = of(app, db, handler)
    assert (findings.ended, "would wait for the end of job" in findings.sentence) == ("stopped", True)
