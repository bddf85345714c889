"""Expiry, deadline, edit and progress, one statement at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import App, JobHandle
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    InvalidArgumentsError,
    InvalidNameError,
    InvalidOptionError,
    InvalidPayloadError,
    JobNotFoundError,
    JobUnchangedError,
)
from pgqueue.model.options import EDITABLE
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from tests.worker_by_hand import Hand

BOOM = ValueError("boom")
FAR = datetime(2999, 1, 1, tzinfo=UTC)


def enqueue(db: Connection[Any], **options: Any) -> int:
    row = db.execute("select id from pgqueue.enqueue('t', '{}', %s)", [Jsonb(options)]).fetchone()
    assert row is not None
    return int(row[0])


def look(db: Connection[Any], job_id: int, columns: str = "state") -> Any:
    [row] = db.execute(f"select {columns} from pgqueue.jobs where id = %s".encode(), [job_id]).fetchall()
    return row[0] if len(row) == 1 else row


def reasons(db: Connection[Any], job_id: int) -> list[tuple[str, str, str]]:
    return [(t.from_state, t.to_state, t.reason) for t in run(db, statements.list_transitions(job_id))]


def let_pass(db: Connection[Any], *columns: str) -> None:
    """These bounds have just passed, one a millisecond after the other, of jobs that have them."""
    for place, column in enumerate(columns):
        db.execute(
            f"update pgqueue.jobs_live set {column} = clock_timestamp() - interval '{9 - place} ms'"
            f" where {column} is not null".encode()
        )


def sweep(db: Connection[Any]) -> list[tuple[int, str, str]]:
    return sorted((swept.id, swept.state, swept.reason) for swept in run(db, statements.sweep(100)))


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t"])


# ------------------------------------------------------------------ the options


@pytest.mark.parametrize("option", ["expires", "deadline"])
@pytest.mark.parametrize("given", [60, 60.0, "1m", timedelta(minutes=1), "moment"])
def test_a_bound_is_a_duration_or_a_moment(app: App, db, option, given):
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
def test_what_is_no_bound_is_refused_and_nothing_is_stored(db, option, value):
    with pytest.raises(psycopg.Error) as caught:
        enqueue(db, **{option: value})
    assert caught.value.sqlstate[:2] in {"22", "23"}
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


@pytest.mark.parametrize(
    "value", ["soon", True, [], FAR.replace(tzinfo=None), datetime(3000, 1, 1, tzinfo=UTC), 1e18]
)
def test_python_refuses_it_in_one_sentence(app: App, value):
    @app.task(name="t")
    def t() -> None: ...

    with pytest.raises(InvalidOptionError, match="expires is"):
        t.using(expires=value)


def test_a_plain_insert_cannot_store_a_time_that_nobody_can_read(db):
    for column in ("expires_at", "deadline_at"):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(f"insert into pgqueue.jobs (task, {column}) values ('t', 'infinity')".encode())


# ------------------------------------------------------------------ expiry


@pytest.mark.parametrize("state", ["pending", "waiting"])
def test_what_has_not_started_when_it_expires_is_cancelled(db, hand, state):
    job, later, never = enqueue(db, expires=60), enqueue(db, expires=3600, delay=60), enqueue(db, delay=60)
    db.execute("update pgqueue.jobs_live set state = %s where id = %s", [state, job])
    db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp() where id = %s", [job])
    assert hand.claim() == []
    assert sweep(db) == [(job, "cancelled", "expired")]
    assert look(db, job, "state, attempt, last_error") == (
        "cancelled", 0, "It had not started when it expired.",
    )  # fmt: skip
    assert reasons(db, job) == [(state, "cancelled", "expired")]
    assert [look(db, other) for other in (later, never)] == ["pending", "pending"]
    assert sweep(db) == []


LEAVE: dict[str, tuple[Outcome, bool]] = {
    "failed": (Outcome.retried(0, BOOM), False),
    "snoozed": (Outcome.snoozed(0), False),
    "released while it ran": (Outcome.released(), False),
    "released before its turn": (Outcome.released(begun=False), True),
}


@pytest.mark.parametrize("way", LEAVE)
def test_an_expiry_concerns_the_first_start_only(db, hand, way):
    outcome, can_expire = LEAVE[way]
    job = enqueue(db, expires=60)
    assert hand.settle(hand.claim()[0], outcome)
    assert (look(db, job, "expires_at") is not None) is can_expire
    let_pass(db, "expires_at")
    assert sweep(db) == ([(job, "cancelled", "expired")] if can_expire else [])
    assert len(hand.claim()) == (not can_expire)


def test_a_running_job_outlives_its_expiry_and_so_does_its_rescue(db, hand):
    job = enqueue(db, expires=60)
    assert len(hand.claim()) == 1
    let_pass(db, "expires_at")
    assert sweep(db) == []
    db.execute("update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s'")
    assert [rescued.state for rescued in run(db, statements.rescue(3, 10))] == ["retrying"]
    assert sweep(db) == []
    assert [attempt.id for attempt in Hand(db, ["t"]).claim()] == [job]


# ------------------------------------------------------------------ deadline


@pytest.mark.parametrize("state", ["pending", "waiting", "retrying"])
def test_what_waits_when_its_deadline_passes_is_dead(db, hand, state):
    job, fine = enqueue(db, deadline=60), enqueue(db, deadline=3600, delay=60)
    if state == "retrying":
        hand.settle(hand.claim()[0], Outcome.retried(0, BOOM))
    else:
        db.execute("update pgqueue.jobs_live set state = %s where id = %s", [state, job])
    db.execute("update pgqueue.jobs_live set deadline_at = clock_timestamp() where id = %s", [job])
    assert hand.claim() == []
    assert sweep(db) == [(job, "dead", "deadline_exceeded")]
    error = "ValueError: boom" if state == "retrying" else (
        "DeadlineExceededError: PGQ-605  Its deadline passed while it waited."
    )  # fmt: skip
    assert look(db, job, "state, last_error") == ("dead", error)
    assert reasons(db, job)[-1] == (state, "dead", "deadline_exceeded")
    assert db.execute("select reason from pgqueue.dead_letters").fetchall() == [("deadline_exceeded",)]
    assert look(db, fine) == "pending"


def test_a_running_job_is_its_workers_to_stop(db, hand):
    job = enqueue(db, deadline=60)
    [attempt] = hand.claim()
    assert 50 < attempt.seconds_left() <= 60
    let_pass(db, "deadline_at")
    assert sweep(db) == []
    assert hand.settle(attempt, COMPLETED), "what is done is done"
    assert look(db, job) == "completed"


def test_the_limit_of_an_attempt_is_the_sooner_of_timeout_and_deadline(db, hand):
    for options in ({"timeout": 5, "deadline": 60}, {"timeout": 60, "deadline": 5}, {"deadline": 5}):
        enqueue(db, **options)
        [attempt] = hand.claim()
        assert 4 < attempt.seconds_left() <= 5


@pytest.mark.parametrize(
    ("first", "end"),
    [(("expires_at", "deadline_at"), "expired"), (("deadline_at", "expires_at"), "deadline_exceeded")],
)
def test_of_two_bounds_the_one_that_passed_first_decides(db, first, end):
    job = enqueue(db, expires=60, deadline=60)
    let_pass(db, *first)
    [(swept, _, reason)] = sweep(db)
    assert (swept, reason) == (job, end)


def test_who_waits_for_an_end_hears_of_it(db, connect):
    listener = connect()
    listener.execute("listen pgqueue_finished")
    run(db, statements.mark_waited(60))
    job = enqueue(db, expires=0)
    assert sweep(db)
    assert [note.payload for note in listener.notifies(timeout=20, stop_after=1)] == [str(job)]


# ------------------------------------------------------------------ cancel


def test_a_cancel_of_a_running_job_tells_its_worker_and_no_other_cancel_tells_anybody(db, hand, connect):
    listener = connect()
    listener.execute("listen pgqueue")
    first = enqueue(db)
    [attempt] = hand.claim()
    pending = enqueue(db, delay=60)
    assert run(db, statements.cancel(pending)) == "cancelled"
    assert run(db, statements.cancel(first)) == "requested"
    db.execute("notify pgqueue, 'end'")
    heard = []
    while "end" not in heard:
        heard += [note.payload for note in listener.notifies(timeout=20, stop_after=1)]
    assert [payload for payload in heard if payload.startswith("cancel")] == [f"cancel {hand.id}"]
    assert run(db, statements.list_cancel_requests(hand.id)) == [attempt.id]
    assert run(db, statements.list_cancel_requests(hand.id + 1)) == []


def test_a_request_that_came_too_late_for_the_last_attempt_ends_the_job_all_the_same(db, hand):
    job = enqueue(db)
    db.execute("update pgqueue.jobs_live set cancel_requested = true where id = %s", [job])
    assert hand.claim() == []
    assert sweep(db) == [(job, "cancelled", "cancelled")]
    assert look(db, job, "state, cancel_requested") == ("cancelled", True)


# ------------------------------------------------------------------ everything at once


BOUND = st.none() | st.integers(-100, 100)
JOB = st.fixed_dictionaries(
    {"state": st.sampled_from(["pending", "retrying", "waiting", "running"]), "expires": BOUND, "deadline": BOUND,
     "asked": st.booleans()}
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JOB, max_size=12))
def test_a_sweep_ends_exactly_what_may_not_run_and_a_claim_takes_exactly_the_rest(db, hand, plan):
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
    assert sweep(db) == sorted((job, *end) for job, end in expected.items() if end)
    for job, end in expected.items():
        assert (look(db, job) in ("cancelled", "dead")) is (end is not None)


def test_a_sweep_takes_no_more_than_it_is_asked_for(db):
    jobs = {enqueue(db, expires=0) for _ in range(5)}
    found = [len(run(db, statements.sweep(2))) for _ in range(4)]
    assert found == [2, 2, 1, 0]
    assert {look(db, job) for job in jobs} == {"cancelled"}


def test_revive_takes_away_what_has_passed_and_keeps_the_rest(db):
    late, fine = enqueue(db, expires=60, deadline=60), enqueue(db, expires=600, deadline=600)
    let_pass(db, "expires_at", "deadline_at")
    db.execute(
        "update pgqueue.jobs_live set deadline_at = %s, expires_at = %s where id = %s", [FAR, FAR, fine]
    )
    assert [swept[0] for swept in sweep(db)] == [late]
    assert run(db, statements.cancel(fine)) == "cancelled"
    assert [run(db, statements.revive(job)) for job in (late, fine)] == ["revived"] * 2
    assert look(db, late, "state, expires_at, deadline_at") == ("pending", None, None)
    assert look(db, fine, "state, expires_at, deadline_at") == ("pending", FAR, FAR)
    assert sweep(db) == []


# ------------------------------------------------------------------ edit

REACH: dict[str, Callable[[Connection[Any], Hand], object]] = {
    "pending": lambda db, hand: None,
    "waiting": lambda db, hand: db.execute("update pgqueue.jobs_live set state = 'waiting'"),
    "retrying": lambda db, hand: hand.settle(hand.claim()[0], Outcome.retried(60, BOOM)),
    "running": lambda db, hand: hand.claim(),
    "completed": lambda db, hand: hand.settle(hand.claim()[0], COMPLETED),
    "cancelled": lambda db, hand: hand.settle(hand.claim()[0], Outcome.cancelled("enough")),
    "dead": lambda db, hand: hand.settle(hand.claim()[0], Outcome.dead("permanent_error", BOOM)),
}


def edit(db: Connection[Any], job_id: int, **changes: Any) -> str | None:
    row = db.execute("select pgqueue.edit(%s, %s)", [job_id, Jsonb(changes)]).fetchone()
    return row[0] if row else None


@pytest.mark.parametrize("state", REACH)
def test_edit_in_each_state(db, hand, state):
    job = enqueue(db)
    REACH[state](db, hand)
    before = len(reasons(db, job))
    can = state in ("pending", "waiting", "retrying")
    assert edit(db, job, priority=7, args={"a": 1}) == ("edited" if can else state)
    assert look(db, job, "state, priority, args") == (state, 7 if can else 0, {"a": 1} if can else {})
    assert reasons(db, job)[before:] == ([(state, state, "edited")] if can else [])


def test_what_does_not_exist_is_null(db):
    assert edit(db, 10**9, priority=1) is None


CHANGES: dict[str, tuple[Any, Any]] = {
    "args": ({"a": [1]}, {"a": [1]}),
    "queue": ("mail", "mail"),
    "priority": (-5, -5),
    "run_at": (FAR.isoformat(), FAR),
    "max_attempts": (9, 9),
    "timeout": (90, timedelta(seconds=90)),
    "tags": (["a", "b"], ["a", "b"]),
    "meta": ({"b": 2}, {"b": 2}),
    "expires": (FAR.isoformat(), FAR),
    "deadline": (FAR.isoformat(), FAR),
}
COLUMNS = {"expires": "expires_at", "deadline": "deadline_at"}


@pytest.mark.parametrize("option", CHANGES)
def test_an_edit_changes_what_it_names_and_nothing_else(db, option):
    job = enqueue(db, timeout=5, expires=600, deadline=600, tags=["x"], meta={"m": 1})
    columns = {name: COLUMNS.get(name, name) for name in CHANGES}
    before = dict(zip(columns, look(db, job, ", ".join(columns.values())), strict=True))
    given, stored = CHANGES[option]
    assert edit(db, job, **{option: given}) == "edited"
    after = dict(zip(columns, look(db, job, ", ".join(columns.values())), strict=True))
    assert after == {**before, option: stored}
    assert set(CHANGES) | {"delay"} == set(EDITABLE)


def test_an_edited_delay_counts_from_now_and_what_may_be_is_taken_away(db):
    job = enqueue(db, timeout=5, expires=600, deadline=600)
    assert edit(db, job, delay=60, timeout=None, expires=None, deadline=None) == "edited"
    seconds, *bounds = look(
        db, job, "extract(epoch from run_at - clock_timestamp())::float8, timeout, expires_at, deadline_at"
    )
    assert 50 < seconds <= 60
    assert bounds == [None] * 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "an edit needs an object of options"),
        ({"priorty": 1}, "unknown option"),
        ({"unique_key": "k"}, "unknown option"),
        ({"state": "dead"}, "unknown option"),
        ({"delay": 1, "run_at": "2030-01-01Z"}, "run_at and delay are both given"),
        ({"queue": None}, "queue cannot be null"),
        ({"args": None}, "args cannot be null"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused_by_name(db, changes, said):
    job = enqueue(db)
    with pytest.raises(psycopg.Error, match=said) as caught:
        edit(db, job, **changes)
    assert caught.value.sqlstate == "PQ404"
    assert "priority" in caught.value.diag.message_hint
    assert reasons(db, job) == []


@pytest.mark.parametrize(
    "changes",
    [{"queue": "a b"}, {"priority": 40_000}, {"max_attempts": 0}, {"timeout": 0}, {"args": []}, {"meta": 1},
     {"tags": ["t"] * 33}, {"run_at": "infinity"}, {"expires": "infinity"}, {"deadline": "soon"}],
    ids=str,
)  # fmt: skip
def test_an_edit_is_held_to_the_limits_of_enqueuing(db, changes):
    job = enqueue(db)
    with pytest.raises(psycopg.Error) as caught:
        edit(db, job, **changes)
    assert caught.value.sqlstate[:2] in {"22", "23"}
    assert reasons(db, job) == []


def test_an_edit_joins_its_callers_transaction_and_wakes_the_queue_when_that_commits(db, connect):
    listener = connect()
    listener.execute("listen pgqueue")
    job = enqueue(db, delay=3600)
    with connect(autocommit=False) as other:
        assert edit(other, job, queue="nowhere") == "edited"
        other.rollback()
        assert look(db, job, "queue") == "default"
        assert edit(other, job, delay=0, queue="mail") == "edited"
        assert look(db, job, "queue") == "default"
        other.commit()
    assert [note.payload for note in listener.notifies(timeout=20, stop_after=1)] == ["mail"]
    assert [attempt.id for attempt in Hand(db, ["t"], "mail").claim()] == [job]


# ------------------------------------------------------------------ the same from Python


@pytest.fixture
def handle(app: App) -> JobHandle:
    @app.task(name="t")
    def t(n: int = 0, on: datetime | None = None) -> None: ...

    return t.using(delay=60).enqueue(n=1)


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, app: App) -> Callable[..., Any]:
    """Calls a verb of a handle, or its async twin."""
    if request.param == "sync":
        return lambda handle, verb, *args, **options: getattr(handle, verb)(*args, **options)

    def twin(handle: JobHandle, verb: str, *args: Any, **options: Any) -> Any:
        async def awaited() -> Any:
            try:
                return await getattr(handle, f"a{verb}")(*args, **options)
            finally:
                await app.aclose()

        return asyncio.run(awaited())

    return twin


def test_a_handle_edits_and_cancels_its_job(handle, db, do):
    do(handle, "edit", priority=-5, delay="2m", tags=("a",), deadline=timedelta(hours=1), timeout="5m")
    job = handle.job()
    assert (job.priority, job.tags, job.timeout) == (-5, ("a",), 300.0)
    assert job.deadline_at is not None
    do(handle, "edit", deadline=None, run_at=FAR)
    assert (handle.job().deadline_at, handle.job().run_at) == (None, FAR)
    assert do(handle, "cancel") == "cancelled"
    assert do(handle, "cancel") == "cancelled"
    with pytest.raises(JobUnchangedError, match="was not edited: it is cancelled"):
        do(handle, "edit", priority=1)


def test_edited_arguments_are_checked_as_at_the_enqueue(app, handle, db, do):
    do(handle, "edit", args={"n": "7", "on": datetime(2030, 1, 1, tzinfo=UTC)})
    assert handle.job().args == {"n": 7, "on": "2030-01-01T00:00:00Z"}
    for args in ({"n": "seven"}, {"m": 1}):
        with pytest.raises(InvalidArgumentsError, match="Arguments of task t"):
            do(handle, "edit", args=args)
    stranger = App(app.dsn).handle(handle.id)
    stranger.edit(args={"m": 1})
    assert handle.job().args == {"m": 1}
    with pytest.raises(InvalidPayloadError):
        stranger.edit(args={"m": object()})
    stranger.app.close()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({}, InvalidOptionError, "changes nothing"),
        ({"priorty": 1}, InvalidOptionError, "no option priorty that can be edited"),
        ({"unique_key": "k"}, InvalidOptionError, "no option unique_key"),
        ({"run_at": FAR, "delay": 1}, InvalidOptionError, "both given"),
        ({"priority": None}, InvalidOptionError, "priority is None"),
        ({"queue": "a b"}, InvalidNameError, "cannot name a queue"),
        ({"args": "{}"}, InvalidOptionError, "args is '{}'"),
        ({"args": None}, InvalidOptionError, "args is None"),
        ({"timeout": 0}, InvalidOptionError, "timeout is 0"),
        ({"deadline": "soon"}, InvalidOptionError, "deadline is 'soon'"),
    ],
    ids=str,
)
def test_python_refuses_a_bad_edit_in_one_sentence(handle, do, changes, error, said):
    with pytest.raises(error, match=said):
        do(handle, "edit", **changes)
    assert handle.job().priority == 0


@pytest.mark.parametrize("verb", ["edit", "cancel"])
def test_a_handle_of_nothing_says_so(app, do, verb, db):
    with pytest.raises(JobNotFoundError):
        do(app.handle(10**9), verb, **({"priority": 1} if verb == "edit" else {}))


def test_verbs_join_the_transaction_that_they_are_given(handle, db, connect):
    with connect(autocommit=False) as other:
        handle.edit(other, priority=3, args={"n": 2})
        assert handle.cancel(other) == "cancelled"
        other.rollback()
    assert (handle.job().state, handle.job().priority) == ("pending", 0)


# ------------------------------------------------------------------ progress


def test_a_report_is_written_only_under_the_lease_it_was_made_under(db, hand):
    job = enqueue(db)
    [attempt] = hand.claim()

    def report(worker: int, lease: int, done: int) -> list[int]:
        return run(db, statements.report_progress(worker, [(job, lease, Progress(done, 10, "on"))]))

    assert report(hand.id, attempt.lease_id, 3) == [job]
    assert report(hand.id, attempt.lease_id + 1, 4) == []
    assert report(hand.id + 1, attempt.lease_id, 4) == []
    stored = look(db, job, "progress")
    assert {name: stored[name] for name in ("done", "total", "message")} == {
        "done": 3,
        "total": 10,
        "message": "on",
    }
    assert abs((datetime.fromisoformat(stored["at"]) - datetime.now(UTC)).total_seconds()) < 60
    assert db.execute("select progress ->> 'done' from pgqueue.running").fetchall() == [("3",)]
    hand.settle(attempt, COMPLETED)
    assert report(hand.id, attempt.lease_id, 5) == []
    assert look(db, job, "progress ->> 'done'") == "3"


def test_the_last_report_goes_with_the_outcome_and_is_kept_over_attempts(db, hand, app):
    job = enqueue(db)
    [attempt] = hand.claim()
    assert attempt.job(app).progressed is None
    attempt.note(Progress(3, 10))
    assert hand.settle(attempt, attempt.with_progress(Outcome.retried(0, BOOM)))
    assert look(db, job, "state, progress ->> 'done'") == ("retrying", "3")
    [second] = hand.claim()
    assert second.job(app).progressed["done"] == 3
    assert hand.settle(second, second.with_progress(Outcome.retried(0, BOOM)))
    [third] = hand.claim()
    third.note(Progress(10, 10))
    assert hand.settle(third, third.with_progress(COMPLETED))
    assert look(db, job, "state, progress ->> 'done'") == ("completed", "10")
    assert app.handle(job).job().progressed["done"] == 10


@pytest.mark.parametrize("outcome", [Outcome.dead("permanent_error", BOOM), Outcome.cancelled("enough")])
def test_progress_is_kept_when_the_job_is_revived(db, hand, outcome, app):
    job = enqueue(db)
    [attempt] = hand.claim()
    attempt.note(Progress(3))
    hand.settle(attempt, attempt.with_progress(outcome))
    assert run(db, statements.revive(job)) == "revived"
    assert hand.claim()[0].job(app).progressed["done"] == 3


def test_progress_that_python_cannot_read_harms_no_other_job(db, hand, app):
    job, other = enqueue(db), enqueue(db)
    huge = "1" + "0" * 5000
    db.execute("update pgqueue.jobs_live set progress = %s where id = %s", [huge, job])
    claimed = {attempt.id: attempt.job(app) for attempt in hand.claim()}
    assert claimed[job].progressed == huge
    assert claimed[other].progressed is None
    assert json.loads(json.dumps(claimed[job].args)) == {}
