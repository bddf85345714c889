"""A parent comes back to its children late: after their retention, after a deploy, or after a retry of what failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests import noted_runs
from tests.apps import gathering_tasks
from tests.apps.gathering_tasks import app
from tests.factories import look
from tests.stages.gathered import children, drain, enqueue, work


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
