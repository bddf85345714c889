"""``pgq events tail`` prints each event of a job once, also those that commit late, and survives an outage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database.flows import drive
from pgqueue.database.run import connect as open_connection
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.ui.cli import events
from pgqueue.ui.cli.events import followed
from pgqueue.ui.reading import events as reading
from pgqueue.ui.reading.events import Position, Tail
from tests.command_line import Done
from tests.factories import add_jobs, enqueue
from tests.worker_by_hand import Hand, make_one_dead

Pgq = Callable[..., Done]


def look(age: float = 0.0, **chosen: Any) -> Tail:
    return Tail(age=age, **chosen)


def found(tail: Tail, connection: Connection[Any]) -> list[tuple[int, str]]:
    return [(event.job_id, event.reason) for event in drive(connection, tail.look()).events]


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


def test_an_event_of_a_transaction_that_was_open_for_long_is_found(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it wrote only at its end: a job's created_at is the begin of its transaction."""
    monkeypatch.setattr(reading, "LATE", 0.0)
    tail, writer, idler = look(), connect(autocommit=False), connect(autocommit=False)
    with open_connection(dsn) as connection:
        assert found(tail, connection) == []
        [first] = add_jobs(writer)
        idler.execute("select 1")
        second = enqueue(db)
        assert found(tail, connection) == [(second, "enqueued")]
        assert found(tail, connection) == []
        [third] = add_jobs(idler)
        idler.commit()
        writer.commit()
        assert found(tail, connection) == [(first, "enqueued"), (third, "enqueued")]
        assert found(tail, connection) == []


def test_a_tail_that_begins_where_another_one_has_got_to_misses_nothing(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LATE", 0.0)
    tail, late = look(), connect(autocommit=False)
    with open_connection(dsn) as connection:
        assert found(tail, connection) == []
        [first] = add_jobs(late)
        second = enqueue(db)
        look_at = drive(connection, tail.look())
        assert [event.job_id for event in look_at.events] == [second]
        late.commit()
        third = enqueue(db)
        for position, those in ((look_at.position, [first, second, third]), (look_at.next, [first, third])):
            again = Position.read(str(position))
            assert again == position
            got = {job for job, _ in found(Tail(position=again), connection)}
            assert set(those) <= got


def test_a_look_says_from_when_on_it_has_read_everything(db: Connection[Any], dsn: str) -> None:
    tail = Tail(most=3)
    with open_connection(dsn) as connection:
        assert found(tail, connection) == []
        add_jobs(db, count=2)
        assert drive(connection, tail.look()).gap is None
        ids = add_jobs(db, count=5)
        seen = drive(connection, tail.look())
        assert [event.job_id for event in seen.events] == ids[2:]
        assert seen.gap == seen.events[0].at


def test_a_look_that_cannot_read_back_to_a_late_commit_says_so(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]]
) -> None:
    tail, late = Tail(most=3), connect(autocommit=False)
    with open_connection(dsn) as connection:
        assert found(tail, connection) == []
        [first] = add_jobs(late)
        for _ in range(3):  # each look reads all that is new, but the last ones cannot read back to the first
            ids = add_jobs(db, count=2)
            seen = drive(connection, tail.look())
            assert ([event.job_id for event in seen.events], seen.gap) == (ids, None)
        late.commit()
        seen = drive(connection, tail.look())
        assert first not in [event.job_id for event in seen.events]
        assert seen.gap is not None
        assert drive(connection, tail.look()).gap is None


def test_a_type_that_no_event_has_is_refused_with_a_list_of_all_types(pgq: Pgq) -> None:
    done = pgq("events", "tail", "--type", "bogus")
    assert done.code == 2
    assert "--type is 'bogus'" in done.err
    assert "dead" in done.err
    assert "permanent_error" in done.err
    assert "Traceback" not in done.err


def test_the_types_of_events_are_those_that_the_code_writes() -> None:
    package = Path(reading.__file__).parents[2]
    texts = {
        path: path.read_text()
        for path in package.rglob("*")
        if path.suffix in (".sql", ".py") and path.name != "events.py"
    }
    source = "\n".join(texts.values())
    unknown = [
        reason for reason in reading.REASONS if f"'{reason}'" not in source and f'"{reason}"' not in source
    ]
    assert unknown == []
    outcomes = "\n".join(
        texts[package / part]
        for part in ("model/outcome.py", "worker/running/conclusions.py", "worker/settler.py")
    )
    written = set(re.findall(r'(?:Outcome\.dead\(|cls\(\s*"\w+",|reason =|Error,)\s*"(\w+)"', outcomes))
    for path, text in texts.items():
        if path.suffix == ".sql" and "pgqueue.transitions" in text and "reason" in text:
            for ended in re.findall(
                r"(?:select .*|values \(.*), '(\w+)'(?:, \w+\.error| from|, \w+\.run_at|\);|$)",
                text,
                re.MULTILINE,
            ):
                written.add(ended)
    assert len(written) > 15
    assert written - {"dead", "running"} <= set(reading.TYPES)


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
