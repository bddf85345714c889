"""Handlers that sleep on the loop, on threads and in child processes: meanwhile they occupy no slot, and later they go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Call, Failure, Job, Suspended
from pgqueue.config import WorkerSettings
from pgqueue.worker.running import call
from pgqueue.worker.worker import Worker
from tests.apps.step_functions import notes
from tests.apps.waiting_tasks import app
from tests.factories import attempt, look, reasons
from tests.waiting import wait_until
from tests.waiting_runs import drain, enqueue, noted

WAYS = [
    ("sleeping", "thread"), ("sleeping", "process"), ("sleeping_async", "async"), ("sleeping_async", "thread"),
    ("sleeping_async", "process"),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers."""
    with noted(tmp_path, dsn, monkeypatch) as path:
        yield path


def drain_until(db: Connection[Any], job_id: int, state: str = "completed", executor: str = "thread") -> None:
    def there() -> bool:
        drain(executor)
        return bool(look(db, job_id) == state)

    wait_until(there)


@pytest.mark.parametrize(("task", "executor"), WAYS)
def test_a_job_sleeps_without_a_slot_and_goes_on_where_it_was(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, delay=3600)
    drain(executor)
    assert look(db, job_id, "state, attempt, worker_id, seats_taken") == ("pending", 0, None, None)
    assert look(db, job_id, "run_at between now() + interval '59 min' and now() + interval '1 h'")
    assert reasons(db, job_id) == [("running", "pending", "sleeping")]
    db.execute("select pgqueue.edit(%s, '{\"delay\": 0}')", [job_id])
    drain(executor)
    assert look(db, job_id, "state, attempt, result") == ("completed", 1, "after")
    assert notes(path) == [["begun", 1], ["did", "before"], ["begun", 1], ["did", "after"]]


@pytest.mark.parametrize(("task", "executor"), WAYS[:3])
def test_a_job_wakes_when_its_time_has_come(
    path: Path, db: Connection[Any], task: str, executor: str
) -> None:
    job_id = enqueue(task, delay=0.4)
    drain_until(db, job_id, executor=executor)
    [slept] = db.execute(
        "select j.started_at >= (c.value ->> 'until')::timestamptz from pgqueue.jobs j join pgqueue.checkpoints c on c.job_id = j.id"
        " where j.id = %s and c.name = 'nap'",
        [job_id],
    ).fetchall()
    assert slept == (True,)


def test_a_job_that_wakes_too_early_sleeps_for_the_rest(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("sleeping", delay=3600)
    drain()
    until = look(db, job_id, "run_at")
    db.execute("update pgqueue.jobs_live set run_at = now()")
    drain()
    assert look(db, job_id, "state, run_at") == ("pending", until)
    assert notes(path)[-1] == ["begun", 1]


def test_a_handler_can_sleep_more_often_than_it_has_attempts(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("often", count=5)
    drain_until(db, job_id)
    assert look(db, job_id, "attempt, max_attempts") == (1, 1)


def test_attempts_are_counted_from_one_again_after_a_sleep(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("failing_between")
    drain_until(db, job_id)
    assert [reason for _, _, reason in reasons(db, job_id)] == ["failed", "sleeping"] * 3 + ["failed"]


def test_a_job_that_would_sleep_beyond_its_deadline_is_dead_at_once(path: Path, db: Connection[Any]) -> None:
    job_id = app.tasks["late"].using(deadline=60).enqueue().id
    drain()
    assert look(db, job_id) == "dead"
    assert reasons(db, job_id) == [("running", "dead", "deadline_exceeded")]


def test_a_sleeping_job_ends_at_its_deadline_by_a_cancel_and_by_a_revival_it_goes_on(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("sleeping", delay=3600)
    drain()
    assert db.execute("select pgqueue.cancel(%s)", [job_id]).fetchone() == ("cancelled",)
    db.execute("select pgqueue.revive(%s)", [job_id])
    drain()
    assert look(db, job_id, "state, run_at > now() + interval '50 min'") == ("pending", True)
    db.execute("select pgqueue.edit(%s, '{\"deadline\": -1}')", [job_id])
    db.execute("select * from pgqueue.finish_overdue(%s, now())", [[job_id]])
    assert look(db, job_id) == "dead"


def test_a_sleep_that_is_forgotten_begins_again(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("sleeping", delay=3600)
    drain()
    former = look(db, job_id, "run_at")
    assert db.execute("select pgqueue.forget_step(%s, 'nap')", [job_id]).fetchone() == (True,)
    db.execute("update pgqueue.jobs_live set run_at = now()")
    drain()
    assert look(db, job_id, f"state, run_at > '{former}'") == ("pending", True)


# ---------------------------------------------------------------- several things at the same time


@pytest.mark.parametrize("way", ["gather", "group"])
@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_steps_beside_a_sleep_are_stored_before_the_job_is_suspended(
    path: Path, db: Connection[Any], way: str, executor: str
) -> None:
    job_id = enqueue("gathered", way=way)
    drain(executor)
    assert look(db, job_id, "state, waits_for") == ("waiting", ["go"])
    assert look(db, job_id, "run_at < now() + interval '1 s'"), "it also sleeps"
    stored = "select name from pgqueue.steps where job_id = %s and kind = 'step' order by 1"
    assert db.execute(stored, [job_id]).fetchall() == [("long",), ("more",)]
    app.handle(job_id).signal("go", 7)
    drain_until(db, job_id, executor=executor)
    assert look(db, job_id, "result") == [7, [1, 2]]
    assert [what for what in notes(path) if what == ["did", "long"]] == [["did", "long"]]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_step_on_another_thread_is_stored_before_the_job_is_suspended(
    path: Path, db: Connection[Any], executor: str
) -> None:
    job_id = enqueue("threaded")
    drain_until(db, job_id, executor=executor)
    assert look(db, job_id, "result") == [1]
    assert notes(path) == [["did", "long"]]


def test_a_sleep_that_the_handler_gives_up_suspends_nothing(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("raced")
    drain("async")
    stored = "select name from pgqueue.checkpoints where job_id = %s order by 1"
    assert db.execute(stored, [job_id]).fetchall() == [("quick",), ("wait:go",)], "the sleep was given up"
    app.handle(job_id).signal("go")
    drain("async")
    assert look(db, job_id, "state, result") == ("completed", "step")


# ---------------------------------------------------------------- what is refused

SENTENCES = {
    "in a step": "because the function of a step is running",
    "on a loop": "await job.asleep(…)",
    "in a transaction": "because a job.transaction() block is open",
    "no names": "A wait needs the name of a signal",
    "a reserved name": "which are reserved",
    "a step of this name": "DuplicateStepError",
    "a negative delay": "The delay of sleep() is -1",
}


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("how", SENTENCES)
def test_a_suspension_that_cannot_be_is_refused_with_a_sentence(
    path: Path, db: Connection[Any], how: str, executor: str
) -> None:
    job_id = enqueue("wrong", how=how)
    drain(executor)
    assert look(db, job_id) == "dead"
    assert SENTENCES[how] in look(db, job_id, "last_error")


def test_a_handler_whose_transaction_has_completed_the_job_cannot_suspend_it(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("wrong", how="after a transaction")
    drain()
    assert look(db, job_id, "state, last_error") == ("completed", None)


def test_the_handler_of_a_chunk_cannot_suspend_a_job(path: Path, db: Connection[Any]) -> None:
    jobs = [enqueue("chunked") for _ in range(2)]
    drain()
    for job_id in jobs:
        assert look(db, job_id) == "dead"
        assert "because its handler takes a chunk of jobs" in look(db, job_id, "last_error")


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("how", ["sleep", "wait"])
def test_a_handler_that_returns_although_it_is_suspended_makes_its_job_dead(
    path: Path, db: Connection[Any], how: str, executor: str
) -> None:
    job_id = enqueue("swallowing", how=how)
    drain(executor)
    assert look(db, job_id) == "dead"
    assert reasons(db, job_id) == [("running", "dead", "swallowed_suspension")]
    assert "SwallowedSuspensionError: PGQ-616" in look(db, job_id, "last_error")


def test_no_step_is_taken_after_a_suspension_was_swallowed(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("swallowing_and_going_on")
    drain_until(db, job_id)
    assert notes(path) == [["swallowed"], ["did", "after"]]


# ---------------------------------------------------------------- what is around a handler


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_middleware_sees_a_suspension_but_its_except_exception_does_not_catch_it(
    dsn: str, db: Connection[Any], executor: str
) -> None:
    app = App(dsn, name="layered")
    said: list[str] = []

    @app.middleware
    @contextmanager
    def noting(call: Call) -> Iterator[None]:
        try:
            yield
        except Exception:
            said.append("error")
            raise
        except Suspended:
            said.append("suspended")
            raise
        else:
            said.append(f"returned {call.result}")

    @app.task(name="t", timeout=60)
    async def t(job: Job) -> int:
        await job.asleep("nap", 0)
        return 1

    job_id = t.enqueue().id
    for _ in range(2):
        Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.1, executor=executor)).run()
    app.close()
    assert (look(db, job_id), said) == ("completed", ["suspended", "returned 1"])


def test_a_hook_cannot_suspend_its_job(dsn: str, db: Connection[Any]) -> None:
    app = App(dsn, name="hooked")
    refused: list[str] = []

    @app.task(name="t", retry=False)
    def t() -> None:
        raise ValueError("no")

    @t.on_dead
    def told(job: Job, failure: Failure) -> None:
        with pytest.raises(RuntimeError) as caught:
            job.sleep("nap", 1)
        refused.append(str(caught.value).rpartition(": ")[2])

    t.enqueue()
    for _ in range(2):
        Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.1)).run()
    app.close()
    assert refused == ["only the job handed to its handler has a lease"]


def test_a_span_is_not_marked_as_failed_by_a_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[BaseException] = []
    monkeypatch.setattr(call, "mark_failed", lambda _span, error, _mask: marked.append(error))
    errors = (Suspended(), BaseExceptionGroup("both", [Suspended(), Suspended()]), ValueError())
    for error in errors:
        with (
            pytest.raises(type(error)),
            call.span_of(attempt(), App("postgresql://127.0.0.1/none"), True),
        ):
            raise error
    assert marked == [errors[2]]
