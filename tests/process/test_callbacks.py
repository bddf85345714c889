"""``@app.on(…)``: a worker calls the user's functions with what happens, and never waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Dead, WorkerEvent
from pgqueue.config import WorkerSettings
from pgqueue.errors import InvalidOptionError
from pgqueue.telemetry import events
from pgqueue.telemetry.events.database import OutageBegun, TurnFailed
from pgqueue.telemetry.events.maintenance import JobStalled
from pgqueue.worker import callbacks
from pgqueue.worker.callbacks import called_back
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until
from tests.worker_by_hand import Hand


@pytest.fixture
def drain(app: App) -> Callable[[], int]:
    """Returns a function that runs a worker in this process until no job is due."""
    return lambda: Worker(app, WorkerSettings(queues={"default": None}, drain=True)).run()


def test_a_callback_gets_each_completed_and_each_failed_attempt(app: App, drain: Callable[[], int]) -> None:
    seen: list[WorkerEvent] = []
    app.on("completed")(seen.append)

    @app.on("failed")
    async def failed(event: WorkerEvent) -> None:
        seen.append(event)

    @app.task(name="good")
    async def good() -> None: ...

    @app.task(name="bad", retry=[0.0])
    def bad(password: str) -> None:
        raise ValueError(f"no {password}")

    @app.task(name="ugly")
    def ugly() -> None:
        raise Dead("ugly")

    ids = good.enqueue().id, bad.enqueue(password="CANARY").id, ugly.enqueue().id
    assert drain() == 0
    found = sorted((one.event, one.job_id, one.task, one.attempt, one.state, one.error) for one in seen)
    assert found == [
        ("completed", ids[0], "good", 1, "completed", None),
        ("failed", ids[1], "bad", 1, "retrying", "ValueError: no [redacted]"),
        ("failed", ids[1], "bad", 2, "dead", "ValueError: no [redacted]"),
        ("failed", ids[2], "ugly", 1, "dead", "Dead: ugly"),
    ]
    assert all(
        one.worker_id and one.queue == "default" and one.max_attempts and one.at.tzinfo for one in seen
    )
    assert all(one.seconds is not None for one in seen)
    assert [one.delay for one in seen if one.state == "retrying"] == [0.0]


def test_an_error_of_a_callback_is_logged_and_reaches_no_job(
    app: App, drain: Callable[[], int], db: Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[WorkerEvent] = []

    @app.on("completed")
    def broken(event: WorkerEvent) -> None:
        raise SystemExit("no")

    app.on("completed")(seen.append)

    @app.task(name="good")
    async def good() -> None: ...

    for _ in range(3):
        good.enqueue()
    assert drain() == 0
    assert len(seen) == 3
    assert db.execute("select count(*) from pgqueue.jobs_done").fetchone() == (3,)
    assert [r.getMessage() for r in caplog.records if "callback" in r.getMessage()] == [
        "the callback test_an_error_of_a_callback_is_logged_and_reaches_no_job.<locals>.broken of the event completed failed"
    ]


def test_a_callback_that_blocks_delays_no_job_and_no_other_callback(
    app: App, drain: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "PATIENCE", 0.2)
    gate, seen, begun = threading.Event(), list[WorkerEvent](), time.monotonic()

    @app.on("completed")
    def blocks(event: WorkerEvent) -> None:
        gate.wait(60)

    @app.on("completed")
    async def goes_on(event: WorkerEvent) -> None:
        seen.append(event)

    @app.task(name="good")
    def good() -> None: ...

    for _ in range(6):
        good.enqueue()
    assert drain() == 0
    gate.set()
    assert time.monotonic() - begun < 30
    assert len(seen) == 6


def test_a_callback_that_is_too_slow_misses_events_and_a_line_says_so(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(callbacks, "ROOM", 2)
    monkeypatch.setattr(callbacks, "PATIENCE", 0.1)
    gate, seen = threading.Event(), list[WorkerEvent]()

    @app.on("stalled")
    def slow(event: WorkerEvent) -> None:
        seen.append(event)
        gate.wait(60)

    with called_back(app):
        events.emit(JobStalled(1, "t", 7, "retrying"))
        wait_until(lambda: bool(seen), 10)
        for job_id in range(2, 7):
            events.emit(JobStalled(job_id, "t", 7, "retrying"))
    gate.set()
    [line] = [record.getMessage() for record in caplog.records if "slow" in record.getMessage()]
    assert line.endswith(".slow of the event stalled is too slow: 2 events wait for it, and it misses others")
    assert (seen[0].event, seen[0].job_id, seen[0].worker_id, seen[0].state) == ("stalled", 1, 7, "retrying")


def test_a_callback_gets_the_troubles_of_the_worker_as_texts(app: App) -> None:
    seen: list[WorkerEvent] = []
    app.on("error")(seen.append)
    with called_back(app):
        events.emit(OutageBegun("db", "gone\nERROR forged"))
        events.emit(TurnFailed("the search", "conflict", "a lock", 1.0, None))
    assert [(one.event, one.job_id, one.error) for one in seen] == [
        ("error", None, r"the database went away (db): gone\nERROR forged; trying again until it is back")
    ]
    events.emit(OutageBegun("db", "after the end"))
    assert len(seen) == 1


def test_the_jobs_of_a_dead_worker_are_reported_as_stalled(app: App, db: Connection[Any]) -> None:
    seen: list[WorkerEvent] = []
    app.on("stalled")(seen.append)

    @app.task(name="t")
    async def t() -> None: ...

    @app.task(name="waits")
    def waits() -> None:
        wait_until(lambda: bool(seen), 30)

    job_id = t.enqueue().id
    hand = Hand(db, ["t"])
    assert hand.claim(1)
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 minute'")
    waits.enqueue()
    assert (
        Worker(app, WorkerSettings(queues={"default": None}, drain=True, heartbeat=0.1, lease=2.0)).run() == 0
    )
    assert [(one.job_id, one.task, one.worker_id, one.state) for one in seen] == [
        (job_id, "t", hand.id, "retrying")
    ]


def test_an_unknown_event_and_a_function_of_no_argument_are_refused(app: App) -> None:
    with pytest.raises(InvalidOptionError, match="complete"):
        app.on("complete")  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="callback"):
        app.on("completed")(lambda: None)  # type: ignore[arg-type,misc]
