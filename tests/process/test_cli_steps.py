"""``pgq jobs steps`` and ``pgq jobs forget-step``."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.steps import Checkpoint
from tests.factories import add_jobs
from tests.worker_by_hand import Hand


def with_steps(db) -> int:
    """Returns the id of a running job that has done two steps."""
    add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    for made in (
        Checkpoint("step", "render", "", 1, '{"pages": [1, 2]}'),
        Checkpoint("step", "mail", "3", 1, "null"),
    ):
        run(db, statements.store_checkpoints([(hand.id, attempt.id, attempt.lease_id, made)]))
    return attempt.id


def test_the_steps_of_a_job_are_listed_oldest_first(pgq, db):
    job_id = with_steps(db)
    found = pgq("jobs", "steps", str(job_id), "--json").items
    assert [(item["name"], item["key"], item["kind"], item["value"]) for item in found] == [
        ("render", "", "step", {"pages": [1, 2]}), ("mail", "3", "step", None),
    ]  # fmt: skip
    out = pgq("jobs", "steps", str(job_id)).out
    assert out.index("render") < out.index("mail")
    assert '{"pages": [1, 2]}' in out


def test_a_job_without_steps_and_a_job_that_does_not_exist_are_told_apart(pgq, db):
    [job_id] = add_jobs(db, task="greet")
    done = pgq("jobs", "steps", str(job_id))
    assert (done.code, f"Job {job_id} has done no steps." in done.out + done.err) == (0, True)
    assert pgq("jobs", "steps", "999").code == 5


def test_a_step_is_forgotten_by_name_and_key(pgq, db):
    job_id = with_steps(db)
    assert pgq("jobs", "forget-step", str(job_id), "mail").code == 5
    done = pgq("jobs", "forget-step", str(job_id), "mail", "3")
    assert done.code == 0
    assert "('mail', '3')" in done.out + done.err
    assert pgq("jobs", "forget-step", str(job_id), "render", "--json").code == 0
    assert db.execute("select count(*) from pgqueue.checkpoints").fetchone() == (0,)
    done = pgq("jobs", "forget-step", str(job_id), "render")
    assert (done.code, "PGQ-512" in done.err, f"pgq jobs steps {job_id}" in done.err) == (5, True, True)
