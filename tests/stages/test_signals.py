"""Signals that are sent to jobs before, while and after their handlers wait for them: each is delivered exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidPayloadError,
    JobNotFoundError,
    PayloadTooLargeError,
)
from tests.apps.step_functions import notes
from tests.apps.waiting_tasks import app
from tests.factories import look, reasons
from tests.waiting import wait_until
from tests.waiting_runs import drain, enqueue, noted

WAYS = [
    ("waiting", "thread"), ("waiting", "process"), ("waiting_async", "async"), ("waiting_async", "thread"),
    ("waiting_async", "process"),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers."""
    with noted(tmp_path, dsn, monkeypatch) as path:
        yield path


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


def test_each_wait_gets_the_oldest_signal_that_no_wait_has_taken(path: Path, db: Connection[Any]) -> None:
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


@pytest.mark.parametrize("executor", ["async", "process"])
def test_a_time_out_in_a_task_group_makes_the_job_dead_at_once(
    path: Path, db: Connection[Any], executor: str
) -> None:
    job_id = enqueue("grouped")
    drain(executor)
    sweep(db)
    drain(executor)
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
    assert look(db, one) == "waiting"
    app.handle(two).signal("approved", 2)
    drain()
    assert (look(db, one), look(db, two, "result")) == ("waiting", ["approved", 2, None, None])


BAD = [
    ({"name": ""}, InvalidNameError), ({"name": "x" * 251}, InvalidNameError), ({"name": "pgqueue.x"}, InvalidNameError),
    ({"name": "gather:7"}, InvalidNameError), ({"name": "a\x00"}, InvalidNameError), ({"name": 7}, InvalidNameError),
    ({"key": ""}, InvalidOptionError), ({"key": "x" * 256}, InvalidOptionError), ({"sender": 7}, InvalidOptionError),
    ({"key": "\ud800"}, InvalidOptionError), ({"sender": "a\udc80"}, InvalidOptionError), ({"key": "\x00"}, InvalidOptionError),
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
