"""Tests of unique keys. A unique key is derived from the arguments of a job, or the caller gives it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import Task
from pgqueue.errors import (
    DuplicateJobError,
    InvalidBatchError,
    InvalidOptionError,
)
from tests.factories import count, enqueue_row, row


def test_a_job_is_unique_by_the_chosen_arguments_in_python_and_in_sql(refresh, db):
    by_account = refresh.using(unique=["account"])
    first = by_account.enqueue(7, note="a")
    assert enqueue_row(db, "refresh", {"note": "b", "account": 7}, unique=["account"]) == (
        first.id,
        False,
        "pending",
        "unique_key",
    )
    assert by_account.enqueue_many([{"account": 7}, {"account": 8}, {"account": 8}])[0].id == first.id
    _, created, _, _ = enqueue_row(db, "refresh", {"account": 9}, unique=["account"])
    assert created
    assert not by_account.enqueue(9).created
    assert row(db, first.id, "unique_key") == ('pgq:by:{"account": 7}',)
    assert count(db) == 3


def test_different_lists_of_arguments_make_different_keys(refresh, db):
    whole = refresh.using(unique=True)
    first = whole.enqueue(7, note="a")
    assert enqueue_row(db, "refresh", {"note": "a", "account": 7}, unique=True)[:2] == (first.id, False)
    assert whole.enqueue(7, note="b").created
    assert refresh.using(unique=["note", "account"]).enqueue(7, note="a").created
    assert not refresh.using(unique=["account", "note"]).enqueue(7, note="a").created
    assert refresh.using(unique_key='{"account": 7, "note": "a"}').enqueue(7).created, (
        "a derived key is different from every key that a caller writes"
    )


def test_an_argument_that_is_not_passed_counts_as_null(refresh):
    by_note = refresh.using(unique=["note"])
    assert by_note.enqueue(1).created
    assert not by_note.enqueue(2).created
    assert by_note.enqueue(2, note="x").created


def test_a_long_derived_key_becomes_a_hash(refresh, db):
    whole = refresh.using(unique=True)
    first, other = whole.enqueue(7, note="ż" * 300), whole.enqueue(7, note="ż" * 301)
    assert other.created
    assert enqueue_row(db, "refresh", {"note": "ż" * 300, "account": 7}, unique=True)[0] == first.id
    [key] = row(db, first.id, "unique_key")
    assert key.startswith("pgq:sha256:")
    assert len(key) == 11 + 64


def test_run_at_decides_to_which_period_of_unique_for_a_job_belongs(refresh, db):
    day = datetime(2031, 5, 6, tzinfo=UTC)
    daily = refresh.using(unique=["account"], unique_for="1d")
    first = daily.using(run_at=day).enqueue(7)
    assert daily.using(run_at=day + timedelta(hours=23.9)).enqueue(7).id == first.id
    assert daily.using(run_at=day + timedelta(days=1)).enqueue(7).created
    assert daily.using(run_at=day - timedelta(seconds=1)).enqueue(7).created
    assert refresh.using(unique=["account"], unique_for="2d", run_at=day).enqueue(7).created
    same = enqueue_row(
        db, "refresh", {"account": 7}, unique=["account"], unique_for=86400, run_at="2031-05-06 02:00+01"
    )
    assert same[:2] == (first.id, False)
    assert refresh.using(unique_key="k", unique_for="1d", run_at=day).enqueue(1).created
    assert refresh.using(unique_key="k", run_at=day).enqueue(1).created
    assert not refresh.using(unique_key="k", unique_for="1d", run_at=day).enqueue(2).created


def test_a_job_can_override_the_options_of_its_task_about_duplicates(app, db):
    @app.task(name="refresh", unique=["account"], on_conflict="replace")
    def refresh(account: int, note: str = "") -> None: ...

    first = refresh.enqueue(7)
    assert refresh.enqueue(7, note="b").id == first.id
    assert first.job().args == {"account": 7, "note": "b"}
    assert refresh.using(unique=False).enqueue(7).created
    assert refresh.using(unique_key="mine").enqueue(7).created
    with pytest.raises(DuplicateJobError, match="PGQ-406"):
        refresh.using(on_conflict="raise").enqueue(7)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"unique": ["acount"]}, "unique contains acount"),
        ({"unique": []}, "give True or a list"),
        ({"unique": "account"}, "give True or a list"),
        ({"on_conflict": "ignore"}, "use skip, replace, raise"),
        ({"throttle": 0}, "more than 0 seconds"),
        ({"debounce": 5, "throttle": 5}, "throttle and debounce are both given"),
        ({"debounce": 5, "debounce_max": 4}, "debounce_max is shorter than debounce"),
        ({"debounce": 5, "on_conflict": "skip"}, "a debounce always replaces"),
        ({"unique_key": "k"}, "no option unique_key"),
    ],
    ids=str,
)
def test_bad_options_about_duplicates_are_refused_when_the_task_is_declared(app, rules, said):
    with pytest.raises(InvalidOptionError, match=said):

        @app.task(name="refresh", **rules)
        def refresh(account: int) -> None: ...


WRONG: list[dict[str, Any]] = [
    {"unique": "account"},
    {"unique": []},
    {"unique": [1]},
    {"unique_key": "k", "on_conflict": "ignore"},
    {"on_conflict": "skip"},
    {"unique": True, "unique_key": "k"},
    {"throttle": 5},
    {"debounce": 5},
    {"unique_for": 5},
    {"unique": True, "unique_for": 0},
    {"unique": True, "throttle": 4e7},
    {"unique": True, "debounce_max": 5},
    {"unique": True, "debounce": 5, "debounce_max": 4},
    {"unique": True, "debounce": 5, "delay": 1},
    {"unique": True, "debounce": 5, "throttle": 5},
    {"unique": True, "throttle": 5, "idempotency_key": "i"},
    {"unique": True, "debounce": 5, "on_conflict": "skip"},
    {"unique": True, "throttle": 5, "on_conflict": "replace"},
    {"idempotency_ttl": 5},
    {"unique": True, "idempotency_ttl": 5},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_bad_combinations_of_options_are_refused_by_python_and_by_sql(refresh, db, options):
    with pytest.raises(InvalidOptionError):
        refresh.using(**options).enqueue(7)
    with pytest.raises(psycopg.Error, match="pgqueue: item 1: ") as caught:
        enqueue_row(db, "refresh", {"account": 7}, **options)
    assert caught.value.sqlstate == "PQ404"
    assert count(db) == 0


def test_sql_refuses_unique_together_with_unique_key(db):
    with pytest.raises(psycopg.Error, match="unique and unique_key are both given"):
        enqueue_row(db, "refresh", {"account": 7}, unique=True, unique_key="k")


def test_one_item_of_enqueue_many_in_sql_can_store_many_jobs_with_the_same_options(db):
    items = [
        {
            "task": "refresh",
            "queue": "mail",
            "unique": ["account"],
            "each": [{"account": 1}, {"account": 2}, {"account": 1}],
        },
        {"task": "refresh", "args": {"account": 3}},
        {"task": "refresh", "each": []},
    ]
    rows = db.execute(
        "select item, id, created, conflict from pgqueue.enqueue_many(%s)", [Jsonb(items)]
    ).fetchall()
    assert [(row[0], row[2], row[3]) for row in rows] == [
        (1, True, None), (2, True, None), (3, False, "unique_key"), (4, True, None),
    ]  # fmt: skip
    assert rows[2][1] == rows[0][1]
    found = db.execute("select args -> 'account', queue from pgqueue.jobs order by id").fetchall()
    assert found == [(1, "mail"), (2, "mail"), (3, "default")]
    with pytest.raises(psycopg.Error, match="item 1 has both args and each"):
        enqueue_row(db, "refresh", {"account": 7}, each=[{}])


def test_sql_refuses_an_ordering_without_a_concurrency_key(db: Connection[Any]) -> None:
    with pytest.raises(psycopg.Error, match="item 2 has an ordering without a concurrency_key"):
        db.execute(
            """select pgqueue.enqueue_many('[{"task": "a"}, {"task": "a", "ordering": "block", "concurrency_key": null}]')"""
        )
    db.execute("select pgqueue.enqueue('a', '{}', '{\"ordering\": null}')")


def test_a_batch_finds_duplicates_among_unique_keys_and_keeps_the_options_of_each_job(refresh, db):
    refresh.using(unique_key="b").enqueue(0)
    jobs = [refresh.using(unique_key=key).job(n) for n, key in enumerate("abcba")]
    jobs += [
        refresh.job(5),
        refresh.using(unique_key="d", tags=["x"]).job(6),
        refresh.using(unique_key="d").job(7),
    ]
    handles = refresh.enqueue_many(jobs)
    assert [handle.created for handle in handles] == [True, False, True, False, False, True, True, False]
    assert handles[4].id == handles[0].id
    assert handles[7].id == handles[6].id
    found = db.execute(
        "select (args -> 'account')::int, unique_key, tags from pgqueue.jobs order by id"
    ).fetchall()
    assert found == [(0, "b", []), (0, "a", []), (2, "c", []), (5, None, []), (6, "d", ["x"])]
    throttled = [refresh.using(unique_key=key, throttle=60).job(9) for key in "xyx"]
    assert [handle.created for handle in refresh.enqueue_many(throttled)] == [True, True, False]


@pytest.mark.parametrize("count", [1, 3, 200])
def test_unique_keys_can_be_given_in_a_list_beside_the_items(refresh, db, count):
    accounts = [{"account": number} for number in range(count)]
    names = [f"k{number}" for number in range(count)]
    assert all(handle.created for handle in refresh.enqueue_many(accounts, names))
    found = db.execute("select (args -> 'account')::int, unique_key from pgqueue.jobs order by id").fetchall()
    assert found == list(enumerate(names))
    again = refresh.using(on_conflict="replace").enqueue_many([{"account": 9}], iter(["k0"]))
    assert [handle.created for handle in again] == [False]
    assert again[0].job().args == {"account": 9}
    assert refresh.enqueue_many([], []) == []
    assert asyncio.run(created_again(refresh, accounts, names)) == [False] * count


async def created_again(task: Task[..., Any], items: list[Any], names: list[str]) -> list[bool]:
    handles = await task.aenqueue_many(items, unique_keys=names)
    await task._store.aclose()
    return [handle.created for handle in handles]


@pytest.mark.parametrize("rules", [{}, {"on_conflict": "replace"}, {"throttle": 60}], ids=str)
def test_an_enqueue_reads_few_rows_even_if_statistics_say_that_the_table_is_empty(
    refresh, db, connect, rules
):
    """With a bad plan, each job would read the keys of all other jobs. This makes an enqueue of a thousand jobs fifty times slower."""
    db.execute("analyze pgqueue.jobs_live, pgqueue.idempotency_keys")
    names = [f"k{number}" for number in range(400)]
    with connect(autocommit=False) as connection:
        for _ in range(2):
            refresh.using(connection, **rules).enqueue_many([{"account": 1}] * len(names), names)
        connection.execute("select pg_stat_force_next_flush()")
    rows = db.execute(
        "select indexrelname, idx_tup_read from pg_stat_user_indexes where schemaname = 'pgqueue'"
        " union all select relname, seq_tup_read from pg_stat_user_tables where schemaname = 'pgqueue'"
    ).fetchall()
    assert {name: read for name, read in rows if read > 10 * len(names)} == {}


@pytest.mark.parametrize(
    "names", [[], ["a"], ["a", "b", "c"], ["a", ""], ["a", 7], ["a", "x" * 256]], ids=str
)
def test_bad_unique_keys_and_lists_of_the_wrong_length_are_refused(refresh, db, names):
    with pytest.raises(InvalidOptionError, match="unique_key"):
        refresh.enqueue_many([{"account": 1}, {"account": 2}], names)
    with pytest.raises(InvalidOptionError, match="1 of them made by job"):
        refresh.enqueue_many([{"account": 1}, refresh.job(2)], ["a", "b"])
    with pytest.raises(InvalidBatchError, match=r"\[1\]"):
        refresh.enqueue_many([{"account": 1}, {"account": "x"}], ["a", "b"])
    assert count(db) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"keys": ["a"]}, {"keys": ["a"], "each": [{}, {}]}, {"keys": ["a"], "each": [{}], "unique": True}],
    ids=str,
)
def test_sql_refuses_a_list_of_unique_keys_that_does_not_fit_its_items(db, wrong):
    with pytest.raises(psycopg.Error, match="item 1: keys must have as many elements as each"):
        db.execute("select pgqueue.enqueue_many(%s)", [Jsonb([{"task": "refresh", **wrong}])])


def test_an_id_that_already_exists_raises_an_error_instead_of_counting_as_a_duplicate(db):
    db.execute("select setval('pgqueue.jobs_id_seq', 1, false)")
    db.execute("insert into pgqueue.jobs (id, task) values (2, 'refresh')")
    items = [{"task": "refresh", "unique": ["account"], "each": [{"account": 1}, {"account": 2}]}]
    with pytest.raises(psycopg.errors.UniqueViolation, match="jobs_live_id_key"):
        db.execute("select pgqueue.enqueue_many(%s)", [Jsonb(items)])
