"""Tests of expiry, deadline and cancel: which jobs end without running, and in which state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    InvalidOptionError,
)
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import enqueue, look, reasons
from tests.worker_by_hand import Hand

BOOM = ValueError("boom")

FAR = datetime(2999, 1, 1, tzinfo=UTC)


def let_pass(db: Connection[Any], *columns: str) -> None:
    """Sets these columns, where they are not null, to times that have passed. Each column gets a time one millisecond after the column before it."""
    for place, column in enumerate(columns):
        db.execute(
            f"update pgqueue.jobs_live set {column} = clock_timestamp() - interval '{9 - place} ms'"
            f" where {column} is not null".encode()
        )


def finish_overdue(db: Connection[Any]) -> list[tuple[int, str, str]]:
    return sorted((ended.id, ended.state, ended.reason) for ended in run(db, statements.finish_overdue(100)))


# ------------------------------------------------------------------ the options


@pytest.mark.parametrize("option", ["expires", "deadline"])
@pytest.mark.parametrize("given", [60, 60.0, "1m", timedelta(minutes=1), "moment"])
def test_an_expiry_or_a_deadline_is_a_duration_or_a_moment(app: App, db, option, given):
    @app.task(name="t")
    def t() -> None: ...

    if given == "moment":
        given = datetime.now(UTC) + timedelta(minutes=1)
    handle = t.using(**{option: given}).enqueue()
    many = t.using(**{option: given}).enqueue_many([{}] * 150)
    other = {"expires": "deadline", "deadline": "expires"}[option]
    for job_id in (handle.id, many[-1].id):
        seconds, none = look(
            db, job_id, f"extract(epoch from {option}_at - clock_timestamp())::float8, {other}_at"
        )
        assert 30 < seconds <= 60
        assert none is None
    assert getattr(handle.job(), f"{option}_at") == look(db, handle.id, f"{option}_at")


@pytest.mark.parametrize("option", ["expires", "deadline"])
@pytest.mark.parametrize(
    "value", ["soon", True, [], {}, "", "infinity", "-infinity", "1999-12-31Z", "3000-01-01Z", 1e18, 1e11]
)
def test_sql_refuses_a_bad_expiry_or_deadline_and_stores_nothing(db, option, value):
    with pytest.raises(psycopg.Error) as caught:
        enqueue(db, **{option: value})
    assert caught.value.sqlstate[:2] in {"22", "23"}
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


@pytest.mark.parametrize(
    "value", ["soon", True, [], FAR.replace(tzinfo=None), datetime(3000, 1, 1, tzinfo=UTC), 1e18]
)
def test_python_refuses_a_bad_expiry(app: App, value):
    @app.task(name="t")
    def t() -> None: ...

    with pytest.raises(InvalidOptionError, match="expires is"):
        t.using(expires=value)


def test_an_insert_in_sql_cannot_store_an_infinite_expiry_or_deadline(db):
    for column in ("expires_at", "deadline_at"):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(f"insert into pgqueue.jobs (task, {column}) values ('t', 'infinity')".encode())


# ------------------------------------------------------------------ expiry


@pytest.mark.parametrize("state", ["pending", "waiting"])
def test_a_job_that_has_not_started_when_it_expires_is_cancelled(db, hand, state):
    job, later, never = enqueue(db, expires=60), enqueue(db, expires=3600, delay=60), enqueue(db, delay=60)
    db.execute("update pgqueue.jobs_live set state = %s where id = %s", [state, job])
    db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp() where id = %s", [job])
    assert hand.claim() == []
    assert finish_overdue(db) == [(job, "cancelled", "expired")]
    assert look(db, job, "state, attempt, last_error") == (
        "cancelled", 0, "It had not started when it expired.",
    )  # fmt: skip
    assert reasons(db, job) == [(state, "cancelled", "expired")]
    assert [look(db, other) for other in (later, never)] == ["pending", "pending"]
    assert finish_overdue(db) == []


# For each way in which an attempt can leave its job unfinished: the outcome, and whether the job can still expire afterwards.
LEAVE: dict[str, tuple[Outcome, bool]] = {
    "failed": (Outcome.retried(0, BOOM), False),
    "snoozed": (Outcome.snoozed(0), False),
    "released while it ran": (Outcome.released(), False),
    "released before it began": (Outcome.released(begun=False), True),
}


@pytest.mark.parametrize("way", LEAVE)
def test_a_job_does_not_expire_after_its_first_attempt_has_begun(db, hand, way):
    outcome, can_expire = LEAVE[way]
    job = enqueue(db, expires=60)
    assert hand.settle(hand.claim()[0], outcome)
    assert (look(db, job, "expires_at") is not None) is can_expire
    let_pass(db, "expires_at")
    assert finish_overdue(db) == ([(job, "cancelled", "expired")] if can_expire else [])
    assert len(hand.claim()) == (not can_expire)


def test_a_running_job_does_not_expire_even_if_it_is_rescued(db, hand):
    job = enqueue(db, expires=60)
    assert len(hand.claim()) == 1
    let_pass(db, "expires_at")
    assert finish_overdue(db) == []
    db.execute("update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s'")
    assert [rescued.state for rescued in run(db, statements.rescue(3, 10))] == ["retrying"]
    assert finish_overdue(db) == []
    assert [attempt.id for attempt in Hand(db, ["t"]).claim()] == [job]


# ------------------------------------------------------------------ deadline


@pytest.mark.parametrize("state", ["pending", "waiting", "retrying"])
def test_a_job_that_does_not_run_when_its_deadline_passes_becomes_dead(db, hand, state):
    job, fine = enqueue(db, deadline=60), enqueue(db, deadline=3600, delay=60)
    if state == "retrying":
        hand.settle(hand.claim()[0], Outcome.retried(0, BOOM))
    else:
        db.execute("update pgqueue.jobs_live set state = %s where id = %s", [state, job])
    db.execute("update pgqueue.jobs_live set deadline_at = clock_timestamp() where id = %s", [job])
    assert hand.claim() == []
    assert finish_overdue(db) == [(job, "dead", "deadline_exceeded")]
    error = "ValueError: boom" if state == "retrying" else (
        "DeadlineExceededError: PGQ-605  Its deadline passed while it waited."
    )  # fmt: skip
    assert look(db, job, "state, last_error") == ("dead", error)
    assert reasons(db, job)[-1] == (state, "dead", "deadline_exceeded")
    assert db.execute("select reason from pgqueue.dead_letters").fetchall() == [("deadline_exceeded",)]
    assert look(db, fine) == "pending"


def test_a_running_job_is_ended_at_its_deadline_only_by_its_worker(db, hand):
    job = enqueue(db, deadline=60)
    [attempt] = hand.claim()
    assert 50 < attempt.seconds_left() <= 60
    let_pass(db, "deadline_at")
    assert finish_overdue(db) == []
    assert hand.settle(attempt, COMPLETED), "its worker can still complete it"
    assert look(db, job) == "completed"


def test_an_attempt_must_end_at_its_timeout_or_at_the_deadline_whichever_is_sooner(db, hand):
    for options in ({"timeout": 5, "deadline": 60}, {"timeout": 60, "deadline": 5}, {"deadline": 5}):
        enqueue(db, **options)
        [attempt] = hand.claim()
        assert 4 < attempt.seconds_left() <= 5


@pytest.mark.parametrize(
    ("first", "end"),
    [(("expires_at", "deadline_at"), "expired"), (("deadline_at", "expires_at"), "deadline_exceeded")],
)
def test_the_earlier_of_a_passed_expiry_and_a_passed_deadline_decides_how_the_job_ends(db, first, end):
    job = enqueue(db, expires=60, deadline=60)
    let_pass(db, *first)
    [(ended, _, reason)] = finish_overdue(db)
    assert (ended, reason) == (job, end)


def test_the_end_of_an_expired_job_sends_a_notification_if_a_handle_waits(db, connect):
    listener = connect()
    listener.execute("listen pgqueue_finished")
    run(db, statements.mark_waited(60))
    job = enqueue(db, expires=0)
    assert finish_overdue(db)
    assert [note.payload for note in listener.notifies(timeout=20, stop_after=1)] == [str(job)]


# ------------------------------------------------------------------ cancel


def test_a_cancel_notifies_a_worker_only_if_the_job_is_running(db, hand, connect):
    listener = connect()
    listener.execute("listen pgqueue")
    first = enqueue(db)
    [attempt] = hand.claim()
    pending = enqueue(db, delay=60)
    assert run(db, statements.cancel(pending)) == "cancelled"
    assert run(db, statements.cancel(first)) == "requested"
    db.execute("notify pgqueue, 'end'")
    payloads = []
    while "end" not in payloads:
        payloads += [note.payload for note in listener.notifies(timeout=20, stop_after=1)]
    assert [payload for payload in payloads if payload.startswith("cancel")] == [f"cancel {hand.id}"]
    assert run(db, statements.list_cancel_requests(hand.id)) == [attempt.id]
    assert run(db, statements.list_cancel_requests(hand.id + 1)) == []


def test_a_cancel_request_that_comes_too_late_for_an_attempt_still_cancels_the_job(db, hand):
    job = enqueue(db)
    db.execute("update pgqueue.jobs_live set cancel_requested = true where id = %s", [job])
    assert hand.claim() == []
    assert finish_overdue(db) == [(job, "cancelled", "cancelled")]
    assert look(db, job, "state, cancel_requested") == ("cancelled", True)


# ------------------------------------------------------------------ all bounds together

BOUND = st.none() | st.integers(-100, 100)  # seconds from now until the expiry or the deadline

JOB = st.fixed_dictionaries(
    {"state": st.sampled_from(["pending", "retrying", "waiting", "running"]), "expires": BOUND, "deadline": BOUND,
     "asked": st.booleans()}
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JOB, max_size=12))
def test_finish_overdue_ends_exactly_the_overdue_jobs_and_a_claim_takes_exactly_the_other_due_jobs(
    db, hand, plan
):
    db.execute("truncate pgqueue.jobs")
    jobs: dict[int, dict[str, Any]] = {}
    for item in plan:
        [(job,)] = db.execute(
            "insert into pgqueue.jobs_live (task, state, worker_id, expires_at, deadline_at, cancel_requested)"
            " values ('t', %(state)s, case when %(state)s = 'running' then 0 end,"
            " now() + make_interval(secs => %(expires)s), now() + make_interval(secs => %(deadline)s), %(asked)s) returning id",
            item,
        ).fetchall()
        jobs[job] = item

    def ends(item: dict[str, Any]) -> tuple[str, str] | None:
        late = [
            (item[name], name)
            for name in ("expires", "deadline")
            if item[name] is not None and item[name] <= 0
        ]
        if item["state"] == "running" or not (item["asked"] or late):
            return None
        if item["asked"]:
            return "cancelled", "cancelled"
        first = min(late, key=lambda bound: (bound[0], bound[1] == "deadline"))[1]
        return ("cancelled", "expired") if first == "expires" else ("dead", "deadline_exceeded")

    expected = {job: ends(item) for job, item in jobs.items()}
    claimable = {
        job
        for job, item in jobs.items()
        if item["state"] in ("pending", "retrying") and expected[job] is None
    }
    assert {attempt.id for attempt in hand.claim(100)} == claimable
    assert finish_overdue(db) == sorted((job, *end) for job, end in expected.items() if end)
    for job, end in expected.items():
        assert (look(db, job) in ("cancelled", "dead")) is (end is not None)


def test_finish_overdue_ends_no_more_jobs_than_the_given_count(db):
    jobs = {enqueue(db, expires=0) for _ in range(5)}
    found = [len(run(db, statements.finish_overdue(2))) for _ in range(4)]
    assert found == [2, 2, 1, 0]
    assert {look(db, job) for job in jobs} == {"cancelled"}


def test_a_revive_removes_an_expiry_and_a_deadline_only_if_they_have_passed(db):
    late, fine = enqueue(db, expires=60, deadline=60), enqueue(db, expires=600, deadline=600)
    let_pass(db, "expires_at", "deadline_at")
    db.execute(
        "update pgqueue.jobs_live set deadline_at = %s, expires_at = %s where id = %s", [FAR, FAR, fine]
    )
    assert [ended[0] for ended in finish_overdue(db)] == [late]
    assert run(db, statements.cancel(fine)) == "cancelled"
    assert [run(db, statements.revive(job)) for job in (late, fine)] == ["revived"] * 2
    assert look(db, late, "state, expires_at, deadline_at") == ("pending", None, None)
    assert look(db, fine, "state, expires_at, deadline_at") == ("pending", FAR, FAR)
    assert finish_overdue(db) == []
