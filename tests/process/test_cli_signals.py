"""``pgq jobs signal``, and what ``pgq why`` and ``pgq doctor`` say of jobs that wait for signals."""

from __future__ import annotations

import json

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.suspension import Request
from tests.factories import add_jobs, look
from tests.worker_by_hand import Hand


def waiting(db, timeout: float | None = None) -> int:
    """Returns the id of a job that waits for the signal approved."""
    add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    outcome = Outcome.suspended((Request("wait", "wait:approved", "", timeout, ("approved",)),))
    run(db, statements.suspend(hand.id, [(attempt.id, attempt.lease_id, outcome)]))
    return attempt.id


def test_a_signal_with_a_payload_a_key_and_a_sender_wakes_the_job(pgq, db):
    job_id = waiting(db)
    done = pgq("jobs", "signal", str(job_id), "approved", '{"by": "ann"}', "--key", "k", "--sender", "ann")
    assert (done.code, "'approved'" in done.out + done.err) == (0, True)
    assert look(db, job_id) == "pending"
    row = db.execute("select name, payload, key, sender from pgqueue.signals").fetchone()
    assert row == ("approved", {"by": "ann"}, "k", "ann")
    assert json.loads(pgq("jobs", "signal", str(job_id), "approved", "--json").out)["result"] == "sent"


def test_a_signal_says_whether_the_job_goes_on_and_else_what_the_job_waits_for(pgq, db):
    job_id = waiting(db)

    def send(name: str, *words: str) -> tuple[str, object]:
        done = pgq("jobs", "signal", str(job_id), name, *words)
        found = json.loads(pgq("jobs", "signal", str(job_id), name, *words, "--json").out)
        return " ".join((done.out + done.err).split()), (found["result"], found["effect"], found["waits_for"])

    said, found = send("refused")
    assert (
        said
        == f"kept signal 'refused' for job {job_id}, which does not wait for it now: it waits for 'approved'"
    )
    assert found == ("sent", "kept", ["approved"])
    said, found = send("refused", "--key", "k")
    assert found == ("sent", "repeated", ["approved"])
    said, found = send("approved", "--key", "k")
    assert said == f"sent signal 'approved' to job {job_id}, which goes on"
    said, _ = send("approved", "--key", "k")
    assert (
        said
        == f"repeated signal 'approved' of the key 'k', which job {job_id} had got before; nothing is stored"
    )
    said, found = send("approved")
    assert said == f"kept signal 'approved' for job {job_id}, which does not wait for it now: it is pending"
    assert found == ("sent", "kept", [])
    db.execute("update pgqueue.jobs_live set state = 'waiting', waits_for = '{gather:7}'")
    assert send("approved")[0].endswith("which does not wait for it now: it waits for its children")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("999", "approved"), 5), (("1", ""), 2), (("1", "gather:7"), 2), (("1", "approved", "{ann}"), 2),
        (("1", "approved", "1", "--key", ""), 2),
    ],
)  # fmt: skip
def test_a_signal_that_cannot_be_sent_is_an_error(pgq, db, words, code):
    waiting(db)
    done = pgq("jobs", "signal", *words)
    assert (done.code != 0, "Traceback" in done.err) == (True, False), done.err
    if code == 5:
        assert done.code == 5
    assert db.execute("select count(*) from pgqueue.signals").fetchone() == (0,)


def test_a_signal_to_a_job_that_has_ended_is_an_error_that_says_how(pgq, db):
    [job_id] = add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    hand.settle(attempt, COMPLETED)
    done = pgq("jobs", "signal", str(job_id), "approved")
    assert (done.code, f"job {job_id} is completed" in done.err) == (6, True)


def test_why_shows_the_command_that_sends_the_signal(pgq, db):
    job_id = waiting(db, 3600.0)
    done = pgq("why", str(job_id))
    out = done.out + done.err
    assert "It waits for the signal approved, since" in out
    assert f"pgq jobs signal {job_id} approved" in out


def test_doctor_reports_waits_that_no_leader_ends_and_waits_that_seem_endless(pgq, db):
    late, endless = waiting(db, 3600.0), waiting(db)
    waiting(db, 3600.0), waiting(db)
    found = json.loads(pgq("doctor", "--json").out)["findings"]
    assert not [finding for finding in found if "signal" in finding["what"]]
    db.execute("select pgqueue.edit(%s, '{\"delay\": -120}')", [late])
    db.execute("update pgqueue.jobs_live set run_at = now() - interval '2 min' where id = %s", [late])
    db.execute("update pgqueue.checkpoints set at = now() - interval '31 days' where job_id = %s", [endless])
    found = json.loads(pgq("doctor", "--json").out)["findings"]
    assert [
        (finding["level"], finding["do"].startswith((f"pgq why {endless};", "start a worker")))
        for finding in found if "signal" in finding["what"]
    ] == [("error", True), ("warn", True)]  # fmt: skip
