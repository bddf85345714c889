"""The three ways of storing a job without keys (by the statement for one job, by COPY, and by the SQL API) store the same row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue import App
from pgqueue.app import copy_lines
from pgqueue.app.storing import insertion
from pgqueue.database import statements
from pgqueue.database.flows import drive
from pgqueue.database.run import run
from pgqueue.database.statements.enqueuing import Stored
from pgqueue.errors import InvalidOptionError
from pgqueue.model.new_job import Batch, NewJob, in_batches
from pgqueue.model.options import options

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
awkward = st.sampled_from(
    ["\\", "\\N", "\\.", "\t", "\n", "\r\n", '"', "{}", "{,}", "NULL", "a,b", "'", " ", "é€😀"]
)
words = text | awkward
chosen = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(["default", "mail", "a.b:c-d"]),
        "priority": st.integers(-32768, 32767),
        "delay": st.floats(0, 1e6),
        "max_attempts": st.integers(1, 10000),
        "timeout": st.floats(0.001, 86400),
        "concurrency_key": words.filter(lambda key: 1 <= len(key.encode()) <= 255),
        "tags": st.lists(words.filter(lambda tag: 1 <= len(tag.encode()) <= 64), max_size=4),
        "meta": st.dictionaries(words, words | st.integers() | st.none(), max_size=3),
        "weight": st.sampled_from([1, 50, 32_768, 10**9]),
        "ordering": st.sampled_from(["block", "skip"]),
    },
).filter(lambda options: "ordering" not in options or "concurrency_key" in options)
SHAPE = (  # returns every column, including columns that a later version adds
    "select to_jsonb(j) - '{id, created_at, run_at, transaction_id}'::text[], array_lower(j.tags, 1), date_part('epoch', run_at - created_at) from pgqueue.jobs j where id = %s"
)


def insert(db: Connection[Any], batches: list[Batch]) -> list[Stored]:
    return list(drive(db, insertion(db, batches)))


def stored(db: Connection[Any], job_id: int) -> tuple[Any, ...]:
    row = db.execute(SHAPE, [job_id]).fetchone()
    assert row
    return row


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(options=chosen, note=words, trace=st.none() | st.just({"traceparent": "00-a-b-01"}))
def test_every_way_stores_the_same_row(
    db: Connection[Any], options: dict[str, Any], note: str, trace: dict[str, str] | None
) -> None:
    from pydantic_core import to_json

    made = rules(options) | ({"trace_context": trace} if trace else {})
    job = NewJob("a.task", to_json({"note": note}).decode(), made)
    assert copy_lines.have_no_keys(in_batches([job]))
    alone = run(db, statements.insert_job(*job[:3]))
    by_api = run(db, statements.enqueue_many(in_batches([job])))[0].id
    with db.transaction():
        copied = insert(db, in_batches([job] * copy_lines.SMALLEST_COPY))
    rows = [stored(db, job_id) for job_id in (alone, by_api, copied[0].id, copied[-1].id)]
    for row in rows[1:]:
        assert row[:-1] == rows[0][:-1]
        assert row[-1] == pytest.approx(rows[0][-1], abs=1e-5)


def rules(chosen: dict[str, Any]) -> dict[str, Any]:
    return options(**chosen)


def test_run_at_is_the_same_moment_in_every_way(db: Connection[Any]) -> None:
    odd = timezone(timedelta(hours=23, minutes=59, seconds=59, microseconds=5))
    moment = (datetime.now(UTC) + timedelta(days=3)).astimezone(odd)
    job = NewJob("a.task", "{}", options(run_at=moment))
    with db.transaction():
        ids = [
            run(db, statements.insert_job(*job[:3])),
            *(row.id for row in insert(db, in_batches([job] * copy_lines.SMALLEST_COPY))),
        ]
    found = db.execute("select distinct run_at from pgqueue.jobs where id = any(%s)", [ids]).fetchall()
    assert found == [(moment,)]


@pytest.mark.parametrize("count", [1, copy_lines.SMALLEST_COPY])
def test_idle_workers_are_woken_once_and_only_for_due_jobs(
    db: Connection[Any], connect: Callable[..., Connection[Any]], count: int
) -> None:
    listening = connect()
    listening.execute("listen pgqueue")
    later = NewJob("a.task", "{}", options(queue="later", delay=60))
    with db.transaction():
        insert(db, in_batches([NewJob("a.task", "{}", options(queue="mail"))] * count))
        insert(db, in_batches([later] * count))
        assert not list(listening.notifies(timeout=0.1)), "no notification is sent before the commit"
    assert [notify.payload for notify in listening.notifies(timeout=5, stop_after=1)] == ["mail"]
    assert not list(listening.notifies(timeout=0.1))


def test_a_rollback_removes_a_copied_batch(app: App, db: Connection[Any]) -> None:
    @app.task(name="bulk")
    def task(n: int) -> None: ...

    with db.transaction(force_rollback=True):
        handles = task.using(db).enqueue_many([{"n": n} for n in range(copy_lines.SMALLEST_COPY)])
        assert [handle.created for handle in handles] == [True] * copy_lines.SMALLEST_COPY
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


def test_the_database_checks_the_values_of_a_copied_batch(db: Connection[Any]) -> None:
    with pytest.raises(InvalidOptionError, match="attempts"), db.transaction():
        insert(db, in_batches([NewJob("a.task", "{}", {"max_attempts": 20_000})] * copy_lines.SMALLEST_COPY))
    assert db.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize(("option", "value"), [("priority", 40_000), ("weight", 2**31), ("timeout", 1e300)])
def test_a_number_that_does_not_fit_its_column_is_refused_before_anything_is_sent(
    db: Connection[Any], option: str, value: float
) -> None:
    with pytest.raises(InvalidOptionError, match="does not fit its column"):
        insert(db, in_batches([NewJob("a.task", "{}", {option: value})] * copy_lines.SMALLEST_COPY))
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


def test_jobs_with_keys_or_unknown_options_are_not_stored_by_copy() -> None:
    assert not copy_lines.have_no_keys(in_batches([NewJob("a", "{}", {"unique_key": "k"})]))
    assert not copy_lines.have_no_keys(
        in_batches([NewJob("a", "{}"), NewJob("a", "{}", {"idempotency_key": "k"})])
    )
    assert not copy_lines.have_no_keys(in_batches([NewJob("a", "{}", {"color": "red"})]))


def test_the_right_id_is_returned_for_each_job_if_there_are_gaps_between_the_ids(db: Connection[Any]) -> None:
    """An increment of 3 leaves gaps between the ids. Such gaps also exist if another session takes ids at the same time."""
    db.execute("alter sequence pgqueue.jobs_id_seq increment by 3")
    with db.transaction():
        rows = insert(db, [Batch("a.task", [f'{{"n": {n}}}' for n in range(copy_lines.SMALLEST_COPY)])])
    stored = db.execute("select id, (args ->> 'n')::int from pgqueue.jobs order by id").fetchall()
    assert stored == [(row.id, n) for n, row in enumerate(rows)]
    assert rows[1].id - rows[0].id == 3
