"""``pgq events tail`` prints each event of a job once, also those that commit late, and survives an outage."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database.run import connect as open_connection
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.ui.cli import events
from pgqueue.ui.cli.events import Look, followed
from tests.command_line import Done
from tests.factories import add_jobs, enqueue
from tests.worker_by_hand import Hand, make_one_dead

Pgq = Callable[..., Done]


def look(age: float = 0.0, **chosen: Any) -> Look:
    return Look(chosen.get("queue"), chosen.get("task"), chosen.get("kinds"), age)


def found(look: Look, connection: Connection[Any]) -> list[tuple[int, str]]:
    return [(event.job_id, event.reason) for event in look.once(connection)]


def test_each_event_is_found_once(db: Connection[Any], dsn: str) -> None:
    enqueue(db)
    tail = look()
    with open_connection(dsn) as connection:
        assert found(tail, connection) == []
        job = enqueue(db, "greet")
        assert found(tail, connection) == [(job, "enqueued")]
        hand = Hand(db, ["greet"])
        [attempt] = hand.claim()
        hand.settle(attempt, Outcome.retried(0.0, ValueError("no")))
        assert found(tail, connection) == [(job, "failed")]
        [attempt] = hand.claim()
        hand.settle(attempt, COMPLETED)
        assert found(tail, connection) == [(job, "completed")]
        assert found(tail, connection) == []


def test_an_event_that_commits_late_is_found(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]]
) -> None:
    tail, late = look(), connect(autocommit=False)
    with open_connection(dsn) as connection:
        assert found(tail, connection) == []
        [first] = add_jobs(late)
        second = enqueue(db)
        assert found(tail, connection) == [(second, "enqueued")]
        late.commit()
        assert found(tail, connection) == [(first, "enqueued")]


def test_events_are_chosen_by_queue_task_and_type(db: Connection[Any], dsn: str) -> None:
    mail, other = enqueue(db, "greet", queue="mail"), enqueue(db, "other")
    make_one_dead(db, other, task="other")
    with open_connection(dsn) as connection:
        assert found(look(60, queue="mail"), connection) == [(mail, "enqueued")]
        assert found(look(60, task="other"), connection) == [(other, "permanent_error")]
        assert found(look(60, kinds=["dead"]), connection) == [(other, "permanent_error")]
        assert found(look(60, kinds=["enqueued"]), connection) == [(mail, "enqueued")]


def test_a_tail_goes_on_after_an_outage_with_what_happened_meanwhile(
    db: Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "EVERY", 0.02)
    first = enqueue(db)
    following = followed(look(60), dsn)
    assert next(following).job_id == first
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgq' and datname = current_database()"
    )
    second = enqueue(db)
    assert next(following).job_id == second
    assert "trying again" in capsys.readouterr().err
    following.close()


def test_tail_prints_lines_or_json_and_ends_after_its_limit(pgq: Pgq, db: Connection[Any]) -> None:
    job = enqueue(db, "greet", queue="mail")
    assert (
        f"job {job}  enqueued  (pending)  greet in mail"
        in pgq("events", "tail", "--since", "1m", "-n", "1").out
    )
    event = json.loads(pgq("events", "tail", "--since", "1m", "-n", "1", "--json").out)
    assert (event["job_id"], event["reason"], event["queue"]) == (job, "enqueued", "mail")
