"""A handler enqueues children and waits for them without a slot (``job.gather``). The children are stored once, and each ends once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import Job
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidOptionError, InvalidWorkflowError
from pgqueue.model.outcome import Outcome
from pgqueue.worker.gathers import Gathering
from tests import noted_runs
from tests.apps import gathering_tasks
from tests.apps.gathering_tasks import app
from tests.apps.step_functions import notes
from tests.factories import look
from tests.stages.gathered import children, drain, enqueue, run_children_by_hand, started, work
from tests.worker_by_hand import Hand
from tests.workflows import finish

WAYS = [
    ("gathering", "thread"), ("gathering", "process"), ("gathering_async", "async"), ("gathering_async", "thread"),
    ("gathering_async", "process"),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers. The app of ``gathering_tasks`` uses the test's database."""
    with noted_runs.noted(app, tmp_path, dsn, monkeypatch) as path:
        yield path


@pytest.mark.parametrize(("task", "executor"), WAYS)
def test_a_handler_gets_the_results_of_its_children_in_their_order(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, numbers=[3, 1, 2])
    work(db, job_id, executor=executor)
    assert look(db, job_id, "state, result, attempt") == ("completed", [9, 1, 4], 1)
    assert sorted(n for what, n in notes(path) if what == "square") == [1, 2, 3]
    assert children(db, job_id) == [("children", "completed", 3, 0, 0)]


def test_a_parent_occupies_no_slot_while_its_children_run(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("gathering", numbers=[1, 2, 3, 4])
    drain(concurrency=1)
    drain(concurrency=1)
    assert look(db, job_id, "state, result") == ("completed", [1, 4, 9, 16])


def test_a_gather_of_no_jobs_returns_no_results_at_once(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("gathering", numbers=[])
    drain()
    assert look(db, job_id, "state, result") == ("completed", [])
    assert children(db, job_id) == []


def test_a_gather_of_no_jobs_is_stored_as_a_plain_step(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("asking", numbers=[])
    drain()
    assert look(db, job_id, "state") == "waiting"
    assert db.execute("select kind from pgqueue.checkpoints where name = 'gather:squares'").fetchone() == (
        "step",
    )


def test_a_gather_of_many_jobs_divides_them_and_keeps_their_order(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("gathering", numbers=list(range(250)))
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [n * n for n in range(250)])


def test_a_parent_is_dead_if_a_child_did_not_complete(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("gathering", numbers=[2, -1])
    work(db, job_id)
    state, error = look(db, job_id, "state, last_error")
    assert state == "dead"
    assert "PGQ-617  1 of 2 children of 'squares' did not complete." in error
    assert "-1 is negative" in error
    assert children(db, job_id) == [("children", "failed", 1, 1, 0)]


def test_a_handler_can_catch_the_error_about_its_children(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("catching", numbers=[2, -1])
    work(db, job_id)
    [said, states] = look(db, job_id, "result")
    assert "1 of 2 children" in said
    assert states == ["completed", "dead"]


def test_a_handler_can_ask_for_the_ends_of_its_children_instead_of_results(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("returning", numbers=[2, -1])
    work(db, job_id)
    [one, two] = look(db, job_id, "result")
    assert one == ["completed", 4, None]
    assert two[:2] == ["dead", None]
    assert "-1 is negative" in two[2]


@pytest.mark.parametrize(
    ("task", "result"), [("twice", [4, 16]), ("together", [[1, 4], [900]]), ("nested", [[1, 4], [9, 16]])]
)
def test_gathers_follow_each_other_run_together_and_are_nested(
    path: Path, db: Connection[Any], task: str, result: list[Any]
) -> None:
    job_id = enqueue(task)
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", result)


# ---------------------------------------------------------------- crashes and races


def test_children_that_end_before_their_parent_waits_wake_it_nevertheless(
    path: Path, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The children are committed before the parent is suspended. Here they end in between."""
    wait = Gathering.wait

    def run_children(self: Any, *given: Any) -> Any:
        hand = Hand(db, ["square"])
        for attempt in hand.claim():
            assert hand.settle(attempt, Outcome.completed("25"))
        return wait(self, *given)

    monkeypatch.setattr(Gathering, "wait", run_children)
    job_id = enqueue("gathering", numbers=[5])
    drain()
    assert look(db, job_id, "state, result") == ("completed", [25])


def test_children_that_end_while_their_parent_is_dead_are_not_stored_again_when_it_is_revived(
    path: Path, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = enqueue("gathering", numbers=[2, 3])
    wait = Gathering.wait
    broken: list[int] = []

    def break_once(self: Any, *given: Any) -> Any:
        if not broken:
            broken.append(1)
            raise ConnectionError("the network broke")
        return wait(self, *given)

    monkeypatch.setattr(Gathering, "wait", break_once)
    drain()
    assert look(db, job_id, "state") == "dead"
    assert run(db, statements.revive(job_id)) == "revived"
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [4, 9])
    assert sorted(n for what, n in notes(path) if what == "square") == [2, 3]
    assert len(children(db, job_id)) == 1


def test_the_end_of_the_children_does_not_wait_for_a_locked_parent_and_the_leader_sends_the_signal(
    path: Path, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    job_id = enqueue("gathering", numbers=[7])
    started(db, job_id)
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live where id = %s for update", [job_id])
    run_children_by_hand(db, Outcome.completed("49"))
    assert look(db, job_id, "state") == "waiting"
    assert db.execute("select count(*) from pgqueue.unresolved").fetchone() == (1,)
    other.rollback()
    finish(db)
    assert look(db, job_id, "state") == "pending"
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [49])


def test_a_parent_waits_again_if_its_children_are_retried_before_it_goes_on(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("gathering", numbers=[3])
    started(db, job_id)
    run_children_by_hand(db, Outcome.dead("given_up", ValueError("no")))
    assert look(db, job_id, "state") == "pending"
    db.execute(
        "select pgqueue.retry_workflow(w.id) from pgqueue.workflows w where w.parent_job = %s", [job_id]
    )
    db.execute("update pgqueue.jobs_live set run_at = now() + interval '1 day' where task = 'square'")
    drain()
    assert look(db, job_id, "state") == "waiting"
    run_children_by_hand(db, Outcome.completed("9"))
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [9])


def test_a_parent_goes_on_if_a_person_cancels_the_workflow_of_its_children(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("returning", numbers=[2, 3])
    started(db, job_id)
    db.execute(
        "select pgqueue.cancel_workflow(w.id) from pgqueue.workflows w where w.parent_job = %s", [job_id]
    )
    work(db, job_id)
    assert [end[0] for end in look(db, job_id, "result")] == ["cancelled", "cancelled"]


# ---------------------------------------------------------------- the end of the parent


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_the_children_are_cancelled_if_their_parent_ends_first(
    path: Path, db: Connection[Any], how: str
) -> None:
    job_id = enqueue("gathering", numbers=[1, 2])
    kids = started(db, job_id)
    if how == "cancelled":
        assert run(db, statements.cancel(job_id)) == "cancelled"
    else:
        db.execute(
            "update pgqueue.jobs_live set deadline_at = now() - interval '1 s' where id = %s", [job_id]
        )
        run(db, statements.finish_overdue(10))
    finish(db)
    assert {look(db, kid, "state") for kid in kids} == {"cancelled"}
    assert children(db, job_id) == [("children", "cancelled", 0, 0, 2)]
    assert db.execute("select count(*) from pgqueue.workflows where stopped_at is null").fetchone() == (0,)


def test_children_whose_parent_has_ended_are_examined_only_once(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("gathering", numbers=[1])
    work(db, job_id)
    assert run(db, statements.leave_parents(0, 10)) is not None
    assert run(db, statements.leave_parents(0, 10)) is None
    assert children(db, job_id) == [("children", "completed", 1, 0, 0)]


# ---------------------------------------------------------------- bad calls


def test_bad_calls_are_refused_with_a_sentence(path: Path, db: Connection[Any]) -> None:
    said: list[str] = []

    @app.task(name="bad", retry=False)
    def bad(job: Job) -> None:
        for jobs, failures in (([7], "raise"), ([], "ignore")):
            try:
                job.gather("x", jobs, failures=failures)  # type: ignore[call-overload]
            except (InvalidWorkflowError, InvalidOptionError) as error:
                said.append(str(error))
        with job.transaction():
            job.gather("y", [gathering_tasks.square.job(1)])

    try:
        job_id = enqueue("bad")
        drain()
    finally:
        del app.tasks["bad"]
    assert "job.gather() was given" in said[0]
    assert "failures is 'ignore'" in said[1]
    assert "a job.transaction() block is open" in look(db, job_id, "last_error")
