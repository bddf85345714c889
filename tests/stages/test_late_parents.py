"""A parent comes back to its children late: after their retention, after a deploy, or after a retry of what failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidOptionError, JobUnchangedError
from pgqueue.model.outcome import Outcome
from tests import noted_runs
from tests.apps import gathering_tasks
from tests.apps.gathering_tasks import app
from tests.apps.step_functions import notes
from tests.factories import look
from tests.stages.gathered import children, drain, enqueue, run_children_by_hand, started, work
from tests.workflows import finish, violations


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers. The app of ``gathering_tasks`` uses the test's database."""
    with noted_runs.noted(app, tmp_path, dsn, monkeypatch) as path:
        yield path


def awaiting_approval(db: Connection[Any], task: str = "asking", **args: Any) -> int:
    """Runs a job until its children have ended and it waits for a signal."""
    job_id = enqueue(task, **args)
    for _ in range(3):
        drain()
    assert look(db, job_id, "waits_for") == ["approved"]
    return job_id


def age(db: Connection[Any]) -> None:
    """Makes all workflows so old that retention takes them."""
    db.execute("update pgqueue.workflows set created_at = created_at - interval '100 days'")
    db.execute("update pgqueue.nodes set ended_at = ended_at - interval '100 days'")


def approve(db: Connection[Any], job_id: int) -> None:
    db.execute("select pgqueue.signal(%s, 'approved')", [job_id])


# ---------------------------------------------------------------- after their retention


@pytest.mark.parametrize("ended", ["waiting", "dead", "cancelled"])
def test_retention_keeps_children_for_a_parent_that_can_still_ask_for_their_results(
    path: Path, db: Connection[Any], ended: str
) -> None:
    job_id = awaiting_approval(db, numbers=[2, 3])
    if ended == "cancelled":
        assert run(db, statements.cancel(job_id)) == "cancelled"
    elif ended == "dead":
        db.execute(
            "update pgqueue.jobs_live set deadline_at = now() - interval '1 s' where id = %s", [job_id]
        )
        run(db, statements.finish_overdue(10))
    age(db)
    assert run(db, statements.purge_workflows(1)) == 0
    if ended != "waiting":
        assert look(db, job_id, "state") == ended
        assert run(db, statements.revive(job_id)) == "revived"
    approve(db, job_id)
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [4, 9])


def test_retention_takes_children_when_the_row_of_their_parent_is_gone(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("gathering", numbers=[2, 3])
    work(db, job_id)
    age(db)
    assert run(db, statements.purge_workflows(100)) == 0
    db.execute("delete from pgqueue.jobs_done where id = %s", [job_id])
    assert run(db, statements.purge_workflows(100)) == 3
    assert run(db, statements.purge_workflows(100)) == 1
    assert children(db, job_id) == []


@pytest.mark.parametrize("left", [0, 1])
def test_a_gather_whose_children_were_deleted_raises_instead_of_returning_too_few_results(
    path: Path, db: Connection[Any], left: int
) -> None:
    job_id = awaiting_approval(db, numbers=[2, 3])
    [workflow] = db.execute("select id from pgqueue.workflows where parent_job = %s", [job_id]).fetchone()
    db.execute(
        "delete from pgqueue.nodes where id in (select id from pgqueue.nodes where workflow_id = %s order by id desc limit %s)",
        [workflow, 3 - left],
    )
    approve(db, job_id)
    work(db, job_id)
    state, error = look(db, job_id, "state, last_error")
    assert state == "dead"
    assert (
        f"PGQ-611  Step 'gather:squares' of job {job_id} has stored 2 children as workflow {workflow}, but {left} of"
        in error
    )
    db.execute("select pgqueue.forget_step(%s, 'gather:squares', '')", [job_id])
    assert run(db, statements.revive(job_id)) == "revived"
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [4, 9])


# ---------------------------------------------------------------- after a deploy


def test_a_parent_goes_on_although_a_deploy_has_changed_the_options_of_its_childrens_task(
    path: Path, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = awaiting_approval(db, numbers=[2, 3])
    monkeypatch.delitem(app.tasks, "square")
    function = gathering_tasks.square.spec.function
    changed = app.task(name="square", retry=[0.0], timeout="5m", queue="squares", priority=3)(function)
    monkeypatch.setattr(gathering_tasks, "square", changed)
    approve(db, job_id)
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [4, 9])


@pytest.mark.parametrize(
    ("before", "after"), [([2, 3], []), ([2, 3], [3, 2]), ([2, 3], [2, 3, 4]), ([], [2])]
)
def test_other_children_than_before_are_refused(
    path: Path, db: Connection[Any], monkeypatch: pytest.MonkeyPatch, before: list[int], after: list[int]
) -> None:
    monkeypatch.setattr(gathering_tasks, "chosen", before)
    job_id = awaiting_approval(db, "choosing")
    monkeypatch.setattr(gathering_tasks, "chosen", after)
    approve(db, job_id)
    work(db, job_id)
    state, error = look(db, job_id, "state, last_error")
    assert state == "dead"
    assert f"PGQ-611  Step 'gather:squares' of job {job_id} was done with other arguments" in error
    assert len(children(db, job_id)) == (1 if before else 0)


# ---------------------------------------------------------------- after a retry


FAILED = Outcome.dead("given_up", ValueError("no"))


def failed(db: Connection[Any], task: str = "gathering", state: str = "dead") -> tuple[int, int]:
    """Runs a parent until its child and the parent have ended in this state. Returns the ids of the parent and of the child's workflow."""
    job_id = enqueue(task, numbers=[2])
    started(db, job_id)
    if state == "cancelled":
        assert run(db, statements.cancel(job_id)) == "cancelled"
    else:
        run_children_by_hand(db, FAILED)
        work(db, job_id)
    finish(db)
    return job_id, found(db, "select id from pgqueue.workflows where parent_job = %s", job_id)


def found(db: Connection[Any], query: str, *parameters: object) -> int:
    [(id_,)] = db.execute(query.encode(), parameters).fetchall()
    return int(id_)


def hold_children(db: Connection[Any]) -> None:
    db.execute("update pgqueue.jobs_live set run_at = now() + interval '1 day' where task = 'square'")


@pytest.mark.parametrize("state", ["dead", "cancelled"])
@pytest.mark.parametrize("how", ["the workflow", "the node", "the job"])
def test_a_retry_of_children_revives_their_parent_which_waits_for_them_again(
    path: Path, db: Connection[Any], how: str, state: str
) -> None:
    job_id, workflow = failed(db, state=state)
    if how == "the job":
        child = found(db, "select id from pgqueue.nodes where workflow_id = %s and not is_gate", workflow)
        assert run(db, statements.revive(child)) == "revived"
    else:
        assert (
            run(db, statements.retry_workflow(workflow, "children.square" if how == "the node" else None))
            == 2
        )
    hold_children(db)
    finish(db)
    drain()
    assert look(db, job_id, "state") == "waiting"
    finish(db)
    assert children(db, job_id) == [("children", "running", 0, 0, 0)]
    run_children_by_hand(db, Outcome.completed("4"))
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [4])
    assert violations(db) == {}


def test_a_retry_of_grandchildren_revives_all_that_wait_for_them(
    path: Path, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering_tasks, "forbidden", {3})
    job_id = enqueue("nested")
    work(db, job_id)
    finish(db)
    assert look(db, job_id, "state") == "dead"
    monkeypatch.setattr(gathering_tasks, "forbidden", set())
    workflow = found(
        db, "select workflow_id from pgqueue.nodes where name = 'children.square' and state = 'dead'"
    )
    run(db, statements.retry_workflow(workflow, None))
    finish(db)
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [[1, 4], [9, 16]])
    assert sorted(n for what, n in notes(path) if what == "square") == [1, 2, 3, 3, 4]
    assert violations(db) == {}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("completed", "which has completed"),
        ("deleted", "whose row was deleted"),
        ("unique", "and an unfinished job has the unique key of job {}"),
    ],
)
def test_children_whose_parent_cannot_go_on_are_not_retried(
    path: Path, db: Connection[Any], wrong: str, sentence: str
) -> None:
    job_id, workflow = failed(db, "returning" if wrong == "completed" else "gathering")
    if wrong == "deleted":
        db.execute("delete from pgqueue.jobs_dead where id = %s", [job_id])
    elif wrong == "unique":
        db.execute("update pgqueue.jobs_dead set unique_key = 'k' where id = %s", [job_id])
        app.tasks["gathering"].using(unique_key="k", delay="1h").enqueue(numbers=[])
    with pytest.raises(InvalidOptionError) as refused:
        run(db, statements.retry_workflow(workflow, None))
    said = f"workflow {workflow} cannot run again, because its jobs are children of job {job_id}, {sentence.format(job_id)}"
    assert refused.value.why == f"pgqueue: {said}"
    child = found(db, "select id from pgqueue.nodes where workflow_id = %s and not is_gate", workflow)
    with pytest.raises(JobUnchangedError, match=f"Job {child} was not revived: {said}"):
        app.handle(child).revive()
    assert children(db, job_id) == [("children", "failed", 0, 1, 0)]
