"""Signals that are sent to jobs before, while and after their handlers wait for them: each is delivered exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidPayloadError,
    JobNotFoundError,
    PayloadTooLargeError,
)
from pgqueue.model.outcome import Outcome
from pgqueue.model.steps import Take
from pgqueue.model.suspension import Request
from pgqueue.runtime import origin
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.worker import Worker
from tests.apps import waiting_tasks
from tests.apps.step_functions import NOTES, notes
from tests.apps.waiting_tasks import app
from tests.factories import add_jobs, add_limit, look, reasons
from tests.waiting import wait_until
from tests.worker_by_hand import Hand, LimitedHand

WAYS = [
    ("waiting", "thread"), ("waiting", "process"), ("waiting_async", "async"), ("waiting_async", "thread"),
    ("waiting_async", "process"),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers. The app of ``waiting_tasks`` uses the test's database."""
    path = tmp_path / "notes"
    monkeypatch.setenv(NOTES, str(path))
    monkeypatch.setattr(app, "_dsn", dsn)
    monkeypatch.setattr(origin.handed, "dsn", dsn)
    yield path
    app.close()


def drain(executor: str = "thread", **settings: Any) -> None:
    """Runs all jobs that are due."""
    settings = {"queues": {"default": None}, "drain": True, "poll": 0.1, "executor": executor, **settings}
    Worker(app, WorkerSettings(**settings), app_path=waiting_tasks.PATH).run()


def enqueue(task: str, /, **args: Any) -> int:
    return app.tasks[task].enqueue(**args).id


def sweep(db: Connection[Any]) -> list[int]:
    """Does the work of the leader."""
    return run(db, statements.time_out_waits(500))


# ---------------------------------------------------------------- a handler gets a signal


@pytest.mark.parametrize(("task", "executor"), WAYS)
def test_a_job_waits_without_a_slot_until_its_signal_comes(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, timeout=3600)
    drain(executor)
    assert look(db, job_id, "state, attempt, worker_id, waits_for") == (
        "waiting",
        0,
        None,
        ["approved", "refused"],
    )
    assert app.handle(job_id).signal("refused", {"by": "ann"}, key="webhook-991", sender="ann") == "sent"
    assert look(db, job_id, "state, waits_for, run_at <= now()") == ("pending", None, True)
    drain(executor)
    got = ["refused", {"by": "ann"}, "ann", "webhook-991"]
    assert look(db, job_id, "state, attempt, result") == ("completed", 1, got)
    assert reasons(db, job_id) == [("running", "waiting", "waiting"), ("waiting", "pending", "signalled")]
    assert notes(path) == [["begun", 1], ["begun", 1], ["got", got]]


@pytest.mark.parametrize(("task", "executor"), WAYS[:3])
def test_a_signal_that_comes_before_the_wait_is_kept_for_it(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    """The job needs only one attempt, because its first attempt finds the signal."""
    with app.connection() as connection:
        job_id = app.tasks[task].using(connection).enqueue().id
        app.handle(job_id).signal("approved", 1, using=connection)
    drain(executor)
    assert look(db, job_id, "state, result") == ("completed", ["approved", 1, None, None])
    assert reasons(db, job_id) == []


def test_a_wait_gets_the_oldest_signal_and_the_next_wait_the_next_one(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("several", count=3)
    for n in range(2):
        app.handle(job_id).signal("page", n)
    drain()
    assert look(db, job_id) == "waiting"
    app.handle(job_id).signal("page", 2)
    drain()
    assert look(db, job_id, "result") == [0, 1, 2]


def test_a_later_attempt_gets_the_same_signal_again(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("failing_after")
    for payload in (1, 2):
        app.handle(job_id).signal("approved", payload)
    drain()
    assert look(db, job_id, "state, result") == ("completed", 1)
    assert notes(path) == [["got", 1], ["got", 1]]


def test_two_waits_with_the_same_first_name_need_keys(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("same_name")
    app.handle(job_id).signal("approved")
    drain()
    assert look(db, job_id) == "dead"
    assert "give each its own key" in look(db, job_id, "last_error")


# ---------------------------------------------------------------- time-outs


@pytest.mark.parametrize(("task", "executor"), WAYS[:3])
def test_a_wait_returns_its_default_after_its_time_out(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, timeout=3600)
    drain(executor)
    assert sweep(db) == []
    db.execute("select pgqueue.edit(%s, '{\"delay\": 0}')", [job_id])
    assert sweep(db) == [job_id]
    drain(executor)
    assert look(db, job_id, "state, result") == ("completed", None)
    assert reasons(db, job_id)[-1] == ("waiting", "pending", "timed_out")
    assert notes(path)[-1] == ["got", None]


def test_a_signal_that_comes_after_the_time_out_but_before_the_attempt_wins(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("waiting", timeout=3600)
    drain()
    db.execute("select pgqueue.edit(%s, '{\"delay\": 0}')", [job_id])
    sweep(db)
    app.handle(job_id).signal("approved", 1)
    drain()
    assert look(db, job_id, "result") == ["approved", 1, None, None]


def test_a_time_out_is_stored_so_that_a_signal_that_comes_later_changes_nothing(
    path: Path, db: Connection[Any]
) -> None:
    """The job is run again after its end, as by a person."""
    job_id = enqueue("failing_after")
    db.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value)"
        " values (%s, 1, 1, 'wait', 'wait:approved', '{\"timed_out\": null}')",
        [job_id],
    )
    db.execute("update pgqueue.jobs_live set lease_id = 2")
    app.handle(job_id).signal("approved", 1)
    drain()
    assert look(db, job_id) == "dead"
    assert "SignalTimeoutError" in look(db, job_id, "last_error")


def test_a_time_out_counts_from_the_first_wait_and_not_from_each_attempt(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("waiting", timeout=3600)
    drain()
    until = look(db, job_id, "run_at")
    db.execute("update pgqueue.jobs_live set state = 'pending', waits_for = null, run_at = now()")
    drain()
    assert look(db, job_id, "state, run_at") == ("waiting", until)


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_handler_can_branch_after_a_time_out(path: Path, db: Connection[Any], executor: str) -> None:
    job_id = enqueue("branching")
    drain(executor)
    wait_until(lambda: bool(sweep(db)) or look(db, job_id) != "waiting")
    drain(executor)
    assert look(db, job_id, "state, result") == ("completed", "not approved")


def test_a_time_out_that_the_handler_does_not_catch_makes_the_job_dead_at_once(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("impatient")
    drain()
    sweep(db)
    drain()
    assert look(db, job_id) == "dead"
    assert reasons(db, job_id)[-1] == ("running", "dead", "signal_timed_out")
    assert "No signal 'approved' has come in time" in look(db, job_id, "last_error")


# ---------------------------------------------------------------- sending


def test_sending_says_what_became_of_the_signal(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("waiting")
    assert db.execute("select pgqueue.signal(%s, 'approved')", [job_id]).fetchone() == ("sent",)
    drain()
    assert app.handle(job_id).signal("approved") == "completed"
    assert db.execute("select pgqueue.signal(%s, 'approved')", [job_id + 1]).fetchone() == (None,)
    with pytest.raises(JobNotFoundError):
        app.handle(job_id + 1).signal("approved")
    assert db.execute("select count(*) from pgqueue.signals").fetchone() == (1,)


def test_an_async_program_sends_signals(path: Path, db: Connection[Any]) -> None:
    async def send() -> str:
        handle = await app.tasks["waiting"].aenqueue()
        said = await handle.asignal("approved", [1])
        await app.aclose()
        return said

    assert asyncio.run(send()) == "sent"
    assert db.execute("select name, payload from pgqueue.signals").fetchall() == [("approved", [1])]


def test_a_signal_with_the_same_key_is_stored_once(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("several", count=2)
    for payload in (1, 2):
        assert app.handle(job_id).signal("page", payload, key="k") == "sent"
    drain()
    assert look(db, job_id) == "waiting", "the second signal was a repeat"
    assert db.execute("select payload from pgqueue.signals").fetchall() == [(1,)]


def test_a_signal_of_a_transaction_that_is_rolled_back_is_not_delivered(
    path: Path, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    job_id = enqueue("waiting")
    drain()
    sender = connect(autocommit=False)
    app.handle(job_id).signal("approved", using=sender)
    sender.rollback()
    assert look(db, job_id) == "waiting"


def test_a_plain_insert_is_a_signal(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("waiting")
    drain()
    db.execute("insert into pgqueue.signals (job_id, name, payload) values (%s, 'refused', '1')", [job_id])
    drain()
    assert look(db, job_id, "result") == ["refused", 1, None, None]


def test_a_signal_to_another_job_or_of_another_name_wakes_no_job(path: Path, db: Connection[Any]) -> None:
    one, two = enqueue("waiting"), enqueue("waiting")
    drain()
    app.handle(one).signal("other")
    app.handle(two).signal("approved", 2)
    drain()
    assert (look(db, one), look(db, two, "result")) == ("waiting", ["approved", 2, None, None])


BAD = [
    ({"name": ""}, InvalidNameError), ({"name": "x" * 251}, InvalidNameError), ({"name": "pgqueue.x"}, InvalidNameError),
    ({"name": "gather:7"}, InvalidNameError), ({"name": "a\x00"}, InvalidNameError), ({"name": 7}, InvalidNameError),
    ({"key": ""}, InvalidOptionError), ({"key": "x" * 256}, InvalidOptionError), ({"sender": 7}, InvalidOptionError),
    ({"payload": object()}, InvalidPayloadError), ({"payload": "\x00"}, InvalidPayloadError),
    ({"payload": float("nan")}, InvalidPayloadError), ({"payload": "\ud800"}, InvalidPayloadError),
    ({"payload": "x" * 300_000}, PayloadTooLargeError),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "error"), BAD)
def test_a_bad_signal_is_refused_before_anything_is_sent(
    path: Path, wrong: dict[str, Any], error: type[Exception]
) -> None:
    given = {"name": "approved", "payload": None, **wrong}
    with pytest.raises(error):
        app.handle(1).signal(given.pop("name"), given.pop("payload"), **given)


SQL_BAD = {
    "null, 'a'": "the id of the job is null",
    "1, null": "a signal needs a name",
    "1, ''": "a signal needs a name",
    "1, repeat('x', 251)": "more than 250 bytes",
    "1, 'pgqueue.a'": "is reserved",
    "1, 'gather:7'": "is reserved",
    "1, 'a', key => ''": "the key of the signal is empty",
    "1, 'a', sender => repeat('x', 256)": "the sender of the signal",
    "1, 'a', to_jsonb(repeat('x', 300000))": "more than 256 KiB",
}


@pytest.mark.parametrize("args", SQL_BAD)
def test_a_bad_signal_of_sql_is_refused_with_a_sentence(db: Connection[Any], args: str) -> None:
    with pytest.raises(psycopg.Error, match=SQL_BAD[args]) as caught:
        db.execute(f"select pgqueue.signal({args})".encode())
    assert caught.value.sqlstate == "PQ404"


# ---------------------------------------------------------------- people look at jobs that wait, and change them


def test_the_view_waiting_lists_jobs_that_wait_for_a_signal(path: Path, db: Connection[Any]) -> None:
    jobs = [enqueue("waiting", timeout=3600), enqueue("waiting"), enqueue("several", count=1)]
    drain()
    rows = db.execute(
        "select id, task, signals, since between now() - interval '1 min' and now(), until > now() from pgqueue.waiting order by id"
    ).fetchall()
    assert rows == [
        (jobs[0], "waiting", ["approved", "refused"], True, True),
        (jobs[1], "waiting", ["approved", "refused"], True, None),
        (jobs[2], "several", ["page"], True, None),
    ]
    sent = "select pgqueue.signal(w.id, 'approved') from pgqueue.waiting w where 'approved' = any(w.signals)"
    assert db.execute(sent).fetchall() == [("sent",), ("sent",)]
    drain()
    assert [look(db, job_id) for job_id in jobs] == ["completed", "completed", "waiting"]


def test_a_waiting_job_can_be_cancelled_and_revived(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("waiting")
    drain()
    assert app.handle(job_id).cancel() == "cancelled"
    app.handle(job_id).revive()
    assert look(db, job_id, "state, waits_for") == ("pending", None)
    drain()
    assert look(db, job_id) == "waiting"
    app.handle(job_id).signal("approved", 1)
    drain()
    assert look(db, job_id, "result") == ["approved", 1, None, None]


def test_a_waiting_job_is_dead_at_its_deadline(path: Path, db: Connection[Any]) -> None:
    job_id = app.tasks["waiting"].using(deadline=3600).enqueue().id
    drain()
    assert look(db, job_id) == "waiting", "a signal can come before the deadline"
    db.execute("update pgqueue.jobs_live set deadline_at = now() - interval '1 s'")
    run(db, statements.finish_overdue(10))
    assert (look(db, job_id), reasons(db, job_id)[-1]) == ("dead", ("waiting", "dead", "deadline_exceeded"))


def test_a_job_that_has_started_does_not_expire_while_it_waits(path: Path, db: Connection[Any]) -> None:
    job_id = app.tasks["waiting"].using(expires=3600).enqueue().id
    drain()
    assert look(db, job_id, "state, expires_at") == ("waiting", None)


def test_an_edit_moves_the_time_out_and_other_changes_leave_it(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("waiting", timeout=3600)
    drain()
    until = look(db, job_id, "run_at")
    app.handle(job_id).edit(priority=5)
    assert look(db, job_id, "state, priority, run_at, waits_for is not null") == ("waiting", 5, until, True)
    app.handle(job_id).edit(delay=7200)
    stored = "select (value ->> 'until')::timestamptz from pgqueue.checkpoints where name = 'wait:approved'"
    assert db.execute(stored).fetchone() == (look(db, job_id, "run_at"),)
    assert look(db, job_id, "run_at") > until


def test_a_wait_that_is_forgotten_needs_another_signal(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("failing_after")
    app.handle(job_id).signal("approved", 1)
    drain()
    db.execute("select pgqueue.forget_step(%s, 'wait:approved')", [job_id])
    db.execute("select pgqueue.forget_step(%s, 'lease')", [job_id])
    assert look(db, job_id) == "completed"
    [(left,)] = db.execute("select count(*) from pgqueue.signals where taken_by is null").fetchall()
    assert left == 0


# ---------------------------------------------------------------- the statements


def asleep(*requests: Request) -> Outcome:
    return Outcome.suspended(requests)


def suspend(hand: Hand, attempt: Attempt, *requests: Request) -> bool:
    """Suspends the attempt, and returns whether it still belonged to this worker."""
    found = run(hand.db, statements.suspend(hand.id, [(attempt.id, attempt.lease_id, asleep(*requests))]))
    return found == [attempt.id]


WAIT = Request("wait", "wait:go", "", 3600.0, ("go",))
NAP = Request("sleep", "nap", "", 60.0)


def take(hand: Hand, attempt: Attempt, *names: str, key: str = "") -> str | None:
    """Returns what the statement answers about a wait for these signals: the value of its checkpoint, or one word."""
    asked = Take(f"wait:{names[0]}", key, names)
    [taken] = run(hand.db, statements.take_signals([(hand.id, attempt.id, attempt.lease_id, asked)]))
    return taken.what if taken.end is None else taken.end.value


def test_a_job_waits_until_the_earliest_of_several_requests_is_over(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    assert suspend(hand, attempt, NAP, WAIT, WAIT._replace(name="wait:stop", names=("stop",)))
    state, waits_for, soon = look(db, attempt.id, "state, waits_for, run_at < now() + interval '61 s'")
    assert (state, sorted(waits_for), soon) == ("waiting", ["go", "stop"], True)


@pytest.mark.parametrize("whose", ["a former lease", "another worker"])
def test_an_attempt_without_the_lease_suspends_nothing_and_takes_nothing(
    db: Connection[Any], hand: Hand, whose: str
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    db.execute("select pgqueue.signal(%s, 'go')", [attempt.id])
    late = Hand(db, ["t"]) if whose == "another worker" else hand
    if whose == "a former lease":
        db.execute("update pgqueue.jobs_live set lease_id = lease_id + 1")
    attempt.worker_id = late.id
    assert not suspend(late, attempt, WAIT)
    assert take(late, attempt, "go") == "lost"
    assert look(db, attempt.id) == "running"
    assert db.execute("select count(*) from pgqueue.checkpoints").fetchone() == (0,)
    assert db.execute("select taken_by from pgqueue.signals").fetchall() == [(None,)]


def test_a_suspended_job_gives_its_seats_back(db: Connection[Any]) -> None:
    add_limit(db, queue="default", concurrency=1)
    hand = LimitedHand(db, ["t"])
    add_jobs(db, count=2)
    [first] = hand.take(after=None)
    assert suspend(hand, first, NAP)
    [second] = hand.take(after=None)
    assert second.id != first.id


def test_a_job_that_was_asked_to_stop_is_cancelled_instead_of_suspended(
    db: Connection[Any], hand: Hand
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    db.execute("select pgqueue.cancel(%s)", [attempt.id])
    assert suspend(hand, attempt, WAIT)
    assert look(db, attempt.id) == "cancelled"
    assert reasons(db, attempt.id) == [
        ("running", "waiting", "waiting"),
        ("waiting", "cancelled", "cancelled"),
    ]


def test_two_waits_of_one_statement_take_different_signals(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    for n in (1, 2):
        db.execute("select pgqueue.signal(%s, 'go', %s)", [attempt.id, str(n)])
    lease = (hand.id, attempt.id, attempt.lease_id)
    asked = [(*lease, Take("wait:go", str(n), ("go",))) for n in range(3)]
    found = run(db, statements.take_signals(asked))
    assert [taken.what for taken in found] == ["over", "over", "open"]
    assert [
        taken.end.value.count('"payload": ' + str(n)) for n, taken in enumerate(found, 1) if taken.end
    ] == [1, 1]
    assert run(db, statements.take_signals(asked))[:2] == found[:2], (
        "a statement that is sent again finds the same"
    )


def test_a_locked_job_is_reported_as_locked(
    db: Connection[Any], hand: Hand, connect: Callable[..., Connection[Any]]
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live for update")
    assert take(hand, attempt, "go") == "locked"
    other.rollback()
    assert take(hand, attempt, "go") == "open"


def test_only_signals_of_jobs_that_are_gone_are_purged(db: Connection[Any], hand: Hand) -> None:
    gone, kept = add_jobs(db, count=2)
    for job_id in (gone, kept):
        db.execute("select pgqueue.signal(%s, 'go')", [job_id])
    db.execute("delete from pgqueue.jobs where id = %s", [gone])
    assert run(db, statements.purge_signals(0, 100)) == kept
    assert db.execute("select count(*) from pgqueue.signals").fetchone() == (2,), "they are too young"
    db.execute("update pgqueue.signals set at = at - interval '2 h'")
    assert run(db, statements.purge_signals(0, 1)) == gone
    assert run(db, statements.purge_signals(gone, 100)) == kept
    assert run(db, statements.purge_signals(kept, 100)) is None
    assert db.execute("select job_id from pgqueue.signals").fetchall() == [(kept,)]
