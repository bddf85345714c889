"""An edit can change certain options of a job, in certain states of the job. The tests edit jobs from SQL and from Python."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import App, JobHandle
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
from tests.factories import enqueue, look, reasons
from tests.worker_by_hand import Hand

BOOM = ValueError("boom")

FAR = datetime(2999, 1, 1, tzinfo=UTC)


# ------------------------------------------------------------------ edit

# Each function brings a pending job into this state.
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
def test_an_edit_changes_a_job_only_if_it_is_pending_waiting_or_retrying(db, hand, state):
    job = enqueue(db)
    REACH[state](db, hand)
    before = len(reasons(db, job))
    can = state in ("pending", "waiting", "retrying")
    assert edit(db, job, priority=7, args={"a": 1}) == ("edited" if can else state)
    assert look(db, job, "state, priority, args") == (state, 7 if can else 0, {"a": 1} if can else {})
    assert reasons(db, job)[before:] == ([(state, state, "edited")] if can else [])


def test_an_edit_of_an_unknown_job_returns_null(db):
    assert edit(db, 10**9, priority=1) is None


# For each option: the value in an edit, and the value that the edit stores.
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
def test_an_edit_changes_the_given_option_and_no_other(db, option):
    job = enqueue(db, timeout=5, expires=600, deadline=600, tags=["x"], meta={"m": 1})
    columns = {name: COLUMNS.get(name, name) for name in CHANGES}
    before = dict(zip(columns, look(db, job, ", ".join(columns.values())), strict=True))
    given, stored = CHANGES[option]
    assert edit(db, job, **{option: given}) == "edited"
    after = dict(zip(columns, look(db, job, ", ".join(columns.values())), strict=True))
    assert after == {**before, option: stored}
    assert set(CHANGES) | {"delay"} == set(EDITABLE)


def test_an_edit_counts_a_delay_from_now_and_removes_an_option_that_is_null(db):
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
def test_an_edit_with_unknown_or_contradictory_options_is_refused(db, changes, said):
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
def test_an_edit_refuses_the_values_that_an_enqueue_refuses(db, changes):
    job = enqueue(db)
    with pytest.raises(psycopg.Error) as caught:
        edit(db, job, **changes)
    assert caught.value.sqlstate[:2] in {"22", "23"}
    assert reasons(db, job) == []


def test_an_edit_takes_effect_and_wakes_the_queue_when_the_callers_transaction_commits(db, connect):
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
    """Returns a function that calls a method of a handle: the sync method, or its async variant."""
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


def test_edited_arguments_are_checked_as_the_arguments_of_an_enqueue_are(app, handle, db, do):
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
    stranger.store.close()


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
def test_python_refuses_a_bad_edit_and_changes_nothing(handle, do, changes, error, said):
    with pytest.raises(error, match=said):
        do(handle, "edit", **changes)
    assert handle.job().priority == 0


@pytest.mark.parametrize("verb", ["edit", "cancel"])
def test_a_handle_of_an_unknown_job_raises_an_error(app, do, verb, db):
    with pytest.raises(JobNotFoundError):
        do(app.handle(10**9), verb, **({"priority": 1} if verb == "edit" else {}))


def test_edit_and_cancel_of_a_handle_join_the_given_transaction(handle, db, connect):
    with connect(autocommit=False) as other:
        handle.edit(other, priority=3, args={"n": 2})
        assert handle.cancel(other) == "cancelled"
        other.rollback()
    assert (handle.job().state, handle.job().priority) == ("pending", 0)
