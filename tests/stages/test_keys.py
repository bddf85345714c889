"""Keys: how they are made, what a duplicate does to the job that holds one, and what it is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import App, PgQueueError, Task
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    DuplicateJobError,
    IdempotencyConflictError,
    InvalidBatchError,
    InvalidOptionError,
    JobFailedError,
)
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.days_of_jobs import make_days, name_of
from tests.worker_by_hand import Hand

RULES = "weight, ordering, expires_at, deadline_at"
BOOM = Outcome.dead("permanent_error", ValueError("boom"))
WON = Outcome.completed('{"sum": 3}')


@pytest.fixture
def refresh(app: App) -> Task[..., Any]:
    @app.task(name="refresh")
    def refresh(account: int, note: str = "") -> None: ...

    return refresh


def by_sql(db: Connection[Any], args: dict[str, Any], **options: Any) -> tuple[Any, ...]:
    """(id, created, state, conflict)"""
    row = db.execute(
        "select id, created, state, conflict from pgqueue.enqueue('refresh', %s, %s)",
        [Jsonb(args), Jsonb(options)],
    ).fetchone()
    assert row
    return row


def job(db: Connection[Any], job_id: int, columns: str) -> tuple[Any, ...]:
    row = db.execute(f"select {columns} from pgqueue.jobs where id = %s".encode(), [job_id]).fetchone()
    assert row
    return row


def count(db: Connection[Any], table: str = "jobs") -> int:
    row = db.execute(f"select count(*) from pgqueue.{table}".encode()).fetchone()
    assert row
    return row[0]


def pass_time(db: Connection[Any], seconds: float) -> None:
    """Everything was that much earlier."""
    span = timedelta(seconds=seconds)
    db.execute(
        "update pgqueue.jobs_live set run_at = run_at - %s, created_at = created_at - %s, expires_at = expires_at - %s",
        [span, span, span],
    )
    db.execute(
        "update pgqueue.idempotency_keys set created_at = created_at - %s, expires_at = expires_at - %s",
        [span, span],
    )


def finish(db: Connection[Any], outcome: Outcome = COMPLETED) -> None:
    hand = Hand(db, ["refresh"])
    [claimed] = hand.claim()
    assert hand.settle(claimed, outcome)


# ------------------------------------------------------------------ the key


def test_a_job_is_unique_by_the_arguments_chosen_wherever_it_is_enqueued(refresh, db):
    by_account = refresh.using(unique=["account"])
    first = by_account.enqueue(7, note="a")
    assert by_sql(db, {"note": "b", "account": 7}, unique=["account"]) == (
        first.id,
        False,
        "pending",
        "unique_key",
    )
    assert by_account.enqueue_many([{"account": 7}, {"account": 8}, {"account": 8}])[0].id == first.id
    _, created, _, _ = by_sql(db, {"account": 9}, unique=["account"])
    assert created
    assert not by_account.enqueue(9).created
    assert job(db, first.id, "unique_key") == ('pgq:by:{"account": 7}',)
    assert count(db) == 3


def test_all_arguments_make_another_key_than_some(refresh, db):
    whole = refresh.using(unique=True)
    first = whole.enqueue(7, note="a")
    assert by_sql(db, {"note": "a", "account": 7}, unique=True)[:2] == (first.id, False)
    assert whole.enqueue(7, note="b").created
    assert refresh.using(unique=["note", "account"]).enqueue(7, note="a").created
    assert not refresh.using(unique=["account", "note"]).enqueue(7, note="a").created
    assert refresh.using(unique_key='{"account": 7, "note": "a"}').enqueue(7).created, (
        "no key written by hand"
    )


def test_what_is_not_passed_counts_as_null(refresh):
    by_note = refresh.using(unique=["note"])
    assert by_note.enqueue(1).created
    assert not by_note.enqueue(2).created
    assert by_note.enqueue(2, note="x").created


def test_a_long_key_is_a_hash(refresh, db):
    whole = refresh.using(unique=True)
    first, other = whole.enqueue(7, note="ż" * 300), whole.enqueue(7, note="ż" * 301)
    assert other.created
    assert by_sql(db, {"note": "ż" * 300, "account": 7}, unique=True)[0] == first.id
    [key] = job(db, first.id, "unique_key")
    assert key.startswith("pgq:sha256:")
    assert len(key) == 11 + 64


def test_a_window_is_that_of_the_time_of_the_run(refresh, db):
    day = datetime(2031, 5, 6, tzinfo=UTC)
    daily = refresh.using(unique=["account"], unique_for="1d")
    first = daily.using(run_at=day).enqueue(7)
    assert daily.using(run_at=day + timedelta(hours=23.9)).enqueue(7).id == first.id
    assert daily.using(run_at=day + timedelta(days=1)).enqueue(7).created
    assert daily.using(run_at=day - timedelta(seconds=1)).enqueue(7).created
    assert refresh.using(unique=["account"], unique_for="2d", run_at=day).enqueue(7).created
    same = by_sql(db, {"account": 7}, unique=["account"], unique_for=86400, run_at="2031-05-06 02:00+01")
    assert same[:2] == (first.id, False)
    assert refresh.using(unique_key="k", unique_for="1d", run_at=day).enqueue(1).created
    assert refresh.using(unique_key="k", run_at=day).enqueue(1).created
    assert not refresh.using(unique_key="k", unique_for="1d", run_at=day).enqueue(2).created


def test_a_task_has_rules_that_one_job_may_leave(app, db):
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
        ({"unique": ["acount"]}, "unique names acount"),
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
def test_rules_that_no_task_can_have_are_refused_where_it_is_declared(app, rules, said):
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
def test_options_that_do_not_go_together_are_refused_by_python_and_by_sql(refresh, db, options):
    with pytest.raises(InvalidOptionError):
        refresh.using(**options).enqueue(7)
    with pytest.raises(psycopg.Error, match="pgqueue: item 1: ") as caught:
        by_sql(db, {"account": 7}, **options)
    assert caught.value.sqlstate == "PQ404"
    assert count(db) == 0


def test_two_ways_of_naming_a_key_are_one_too_many_in_sql(db):
    with pytest.raises(psycopg.Error, match="unique and unique_key are both given"):
        by_sql(db, {"account": 7}, unique=True, unique_key="k")


def test_many_jobs_share_their_options_in_sql(db):
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
        by_sql(db, {"account": 7}, each=[{}])


def test_sql_refuses_an_order_without_a_key(db: Connection[Any]) -> None:
    with pytest.raises(psycopg.Error, match="item 2 has an ordering without a concurrency_key"):
        db.execute(
            """select pgqueue.enqueue_many('[{"task": "a"}, {"task": "a", "ordering": "block", "concurrency_key": null}]')"""
        )
    db.execute("select pgqueue.enqueue('a', '{}', '{\"ordering\": null}')")


def test_keys_written_by_hand_travel_together_and_apart(refresh, db):
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
def test_unique_keys_are_given_beside_the_arguments(refresh, db, count):
    accounts = [{"account": number} for number in range(count)]
    names = [f"k{number}" for number in range(count)]
    assert all(handle.created for handle in refresh.enqueue_many(accounts, names))
    found = db.execute("select (args -> 'account')::int, unique_key from pgqueue.jobs order by id").fetchall()
    assert found == list(enumerate(names))
    again = refresh.using(on_conflict="replace").enqueue_many([{"account": 9}], iter(["k0"]))
    assert [handle.created for handle in again] == [False]
    assert again[0].job().args == {"account": 9}
    assert refresh.enqueue_many([], []) == []
    assert asyncio.run(later(refresh, accounts, names)) == [False] * count


async def later(task: Task[..., Any], items: list[Any], names: list[str]) -> list[bool]:
    handles = await task.aenqueue_many(items, unique_keys=names)
    await task._app.aclose()
    return [handle.created for handle in handles]


@pytest.mark.parametrize("rules", [{}, {"on_conflict": "replace"}, {"throttle": 60}], ids=str)
def test_statistics_of_an_empty_table_mislead_no_call(refresh, db, connect, rules):
    """Else each job would read the keys of all others: fifty times as slow, from a thousand jobs on."""
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
def test_unique_keys_that_do_not_fit_are_refused(refresh, db, names):
    with pytest.raises(InvalidOptionError, match="unique_key"):
        refresh.enqueue_many([{"account": 1}, {"account": 2}], names)
    with pytest.raises(InvalidOptionError, match="1 of them made jobs"):
        refresh.enqueue_many([{"account": 1}, refresh.job(2)], ["a", "b"])
    with pytest.raises(InvalidBatchError, match=r"\[1\]"):
        refresh.enqueue_many([{"account": 1}, {"account": "x"}], ["a", "b"])
    assert count(db) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"keys": ["a"]}, {"keys": ["a"], "each": [{}, {}]}, {"keys": ["a"], "each": [{}], "unique": True}],
    ids=str,
)
def test_keys_that_are_not_one_for_each_are_refused(db, wrong):
    with pytest.raises(psycopg.Error, match="item 1: keys are one for each"):
        db.execute("select pgqueue.enqueue_many(%s)", [Jsonb([{"task": "refresh", **wrong}])])


def test_an_id_that_exists_is_an_error_and_no_key(db):
    db.execute("select setval('pgqueue.jobs_id_seq', 1, false)")
    db.execute("insert into pgqueue.jobs (id, task) values (2, 'refresh')")
    items = [{"task": "refresh", "unique": ["account"], "each": [{"account": 1}, {"account": 2}]}]
    with pytest.raises(psycopg.errors.UniqueViolation, match="jobs_live_id_key"):
        db.execute("select pgqueue.enqueue_many(%s)", [Jsonb(items)])


# ------------------------------------------------------------------ on_conflict


def test_a_waiting_job_is_replaced_as_a_whole_and_keeps_its_identity(refresh, db):
    first = refresh.using(unique_key="k", delay=60, tags=["old"]).enqueue(1)
    at = datetime(2031, 1, 2, tzinfo=UTC)
    again = refresh.using(
        unique_key="k", on_conflict="replace", run_at=at, priority=3, queue="mail", tags=["new"], meta={"m": 1},
        max_attempts=2, timeout=9, concurrency_key="c", weight=3, ordering="skip", expires=at, deadline=at,
    ).enqueue(2)  # fmt: skip
    assert (again.id, again.created, again.state, again.conflict) == (
        first.id,
        False,
        "pending",
        "unique_key",
    )
    row = job(
        db,
        first.id,
        "args, run_at, priority, queue, tags, meta, max_attempts, timeout, concurrency_key, unique_key",
    )
    assert row == ({"account": 2}, at, 3, "mail", ["new"], {"m": 1}, 2, timedelta(seconds=9), "c", "k")
    assert job(db, first.id, RULES) == (3, "skip", at, at)
    assert count(db) == 1
    refresh.using(unique_key="k", on_conflict="replace").enqueue(3)
    assert job(db, first.id, "args, priority, tags, run_at <= clock_timestamp()") == (
        {"account": 3},
        0,
        [],
        True,
    )
    assert job(db, first.id, RULES) == (None, None, None, None)


@pytest.mark.parametrize("by", ["python", "python, alone", "sql"])
@pytest.mark.parametrize(
    "rules",
    [
        {"unique_key": "k"},
        {"unique": ["account"], "on_conflict": "replace"},
        {"unique": True, "on_conflict": "raise"},
        {"unique": True, "throttle": 60},
        {"unique": True, "debounce": 60},
        {"idempotency_key": "k"},
    ],
    ids=str,
)
def test_a_job_with_a_key_has_all_its_other_options(refresh, db, rules, by):
    others = {"concurrency_key": "c", "weight": 3, "ordering": "block", "expires": 3600, "deadline": 7200}
    if by == "sql":
        job_id = by_sql(db, {"account": 1}, **rules, **others)[0]
    else:
        if by == "python, alone":  # a statement of its own
            del others["expires"], others["deadline"]
        job_id = refresh.using(**rules, **others).enqueue(1).id
    left = "round(extract(epoch from {}_at - created_at))::int"
    found = job(db, job_id, f"weight, ordering, {left.format('expires')}, {left.format('deadline')}")
    assert found == (3, "block", others.get("expires"), others.get("deadline"))


@pytest.mark.parametrize(
    ("bound", "rules", "ended"),
    [
        ("expires", {}, "cancelled"),
        ("expires", {"on_conflict": "raise"}, "cancelled"),
        ("deadline", {"on_conflict": "replace"}, "dead"),
        ("deadline", {}, "dead"),
    ],
)
@pytest.mark.parametrize("others", [0, 2])
def test_a_job_that_will_not_run_any_more_holds_no_key(refresh, db, bound, rules, ended, others):
    """No leader has ended it yet; else the new job would be told to wait for one that never runs."""
    keyed = refresh.using(unique=["account"])
    over = keyed.using(**{bound: 60}).enqueue(1)
    held = keyed.using(**{bound: 60}).enqueue(0)
    db.execute(
        f"update pgqueue.jobs_live set {bound}_at = clock_timestamp() where id = %s".encode(), [over.id]
    )
    accounts = [{"account": number} for number in range(1, 2 + others)]
    handles = keyed.using(**rules).enqueue_many(accounts)
    assert [handle.created for handle in handles] == [True] * (1 + others)
    assert job(db, over.id, "state") == (ended,)
    assert job(db, held.id, "state") == ("pending",)
    assert {job(db, handle.id, "state, unique_key is null") for handle in handles} == {("pending", False)}
    assert not keyed.enqueue(1).created


def test_a_holder_whose_end_was_asked_for_is_ended_and_not_replaced(refresh, db):
    """The request came too late for its attempt, which goes on to be retried, and too early for the leader."""
    keyed = refresh.using(unique_key="k", on_conflict="replace")
    first = keyed.enqueue(1)
    db.execute("update pgqueue.jobs_live set state = 'retrying', cancel_requested = true")
    again = keyed.enqueue(2)
    assert again.created
    assert job(db, first.id, "state, args") == ("cancelled", {"account": 1})
    assert job(db, again.id, "state, args, cancel_requested") == ("pending", {"account": 2}, False)


def test_a_debounced_job_that_expired_makes_room_for_the_next(refresh, db):
    calm = refresh.using(unique=True, debounce=60, expires=600)
    first = calm.enqueue(1)
    db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp()")
    again = calm.enqueue(1)
    assert again.created
    run(db, statements.sweep(10))
    assert [job(db, handle.id, "state") for handle in (first, again)] == [("cancelled",), ("pending",)]
    assert not calm.enqueue(1).created


def test_a_request_is_told_that_its_job_expired(refresh, db):
    request = refresh.using(idempotency_key="r", expires=60)
    first = request.enqueue(1)
    db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp()")
    run(db, statements.sweep(10))
    again = request.enqueue(1)
    assert (again.id, again.created, again.state) == (first.id, False, "cancelled")
    assert again.stored_error == "It had not started when it expired."


def test_an_edited_job_keeps_its_keys(refresh, db):
    keyed, request = refresh.using(unique=["account"]), refresh.using(idempotency_key="r")
    one, two = keyed.enqueue(1), request.enqueue(2)
    one.edit(args={"account": 3})
    two.edit(args={"account": 4})
    assert keyed.enqueue(1).id == one.id
    assert request.enqueue(2).id == two.id
    assert keyed.enqueue(3).created


def test_a_job_that_is_to_be_retried_is_replaced_and_keeps_its_attempts(refresh, db):
    keyed = refresh.using(unique_key="k", on_conflict="replace", max_attempts=1)
    first = keyed.using(max_attempts=6).enqueue(1)
    finish(db, Outcome.retried(60.0, ValueError("no")))
    assert keyed.enqueue(2).state == "retrying"
    assert job(db, first.id, "args, attempt, max_attempts") == ({"account": 2}, 1, 2)
    finish(db)
    assert keyed.enqueue(3).created


def test_a_running_job_is_not_replaced_but_named(refresh, db):
    first = refresh.using(unique_key="k").enqueue(1)
    Hand(db, ["refresh"]).claim()
    again = refresh.using(unique_key="k", on_conflict="replace").enqueue(2)
    assert (again.id, again.created, again.state) == (first.id, False, "running")
    assert job(db, first.id, "args") == ({"account": 1},)


def test_in_one_batch_the_last_one_replaces(refresh, db):
    keyed = refresh.using(unique=["account"], on_conflict="replace")
    handles = keyed.enqueue_many([{"account": 1, "note": "a"}, {"account": 2}, {"account": 1, "note": "b"}])
    assert [handle.created for handle in handles] == [True, True, False]
    assert handles[0].job().args == {"account": 1, "note": "b"}


def test_raise_names_the_holder_stores_nothing_and_leaves_the_transaction_alone(refresh, db, connect):
    held = refresh.using(unique_key="k").enqueue(1)
    with connect(autocommit=False) as connection:
        joined = refresh.using(connection)
        kept = joined.enqueue(5)
        with pytest.raises(DuplicateJobError, match=rf"PGQ-406  Job {held.id} .* pending") as caught:
            joined.using(unique_key="k", on_conflict="raise").enqueue(2)
        assert (caught.value.job_id, caught.value.state) == (held.id, "pending")
        one = joined.using(unique_key="new", on_conflict="raise", idempotency_key="i").job(3)
        two = joined.using(unique_key="k", on_conflict="raise").job(4)
        with pytest.raises(DuplicateJobError):
            joined.enqueue_many([one, {"account": 9}, two])
        assert joined.using(unique_key="new", on_conflict="raise").enqueue(6).created
        connection.commit()
    assert db.execute("select id from pgqueue.jobs where args ->> 'account' in ('5', '6')").fetchone() == (
        kept.id,
    )
    assert count(db) == 3
    assert count(db, "idempotency_keys") == 0


def test_raise_in_sql_is_a_row(db):
    held, *_ = by_sql(db, {}, unique_key="k")
    assert by_sql(db, {}, unique_key="k", on_conflict="raise") == (held, False, "pending", "duplicate")
    with pytest.raises(psycopg.Error, match="all or nothing"):
        db.execute(
            "select pgqueue.enqueue_many(%s)",
            [Jsonb([{"task": "t", "unique_key": "a", "on_conflict": how} for how in ("raise", "replace")])],
        )


def test_a_throttle_that_raises(refresh, db):
    throttled = refresh.using(unique=["account"], throttle=60, on_conflict="raise")
    first = throttled.enqueue(7)
    finish(db)
    with pytest.raises(DuplicateJobError, match="completed") as caught:
        throttled.enqueue_many([{"account": 8}, {"account": 7}])
    assert (caught.value.job_id, caught.value.state) == (first.id, "completed")
    assert throttled.enqueue(8).created, "nothing of the refused call was stored"


# ------------------------------------------------------------------ debounce


def due_in(db: Connection[Any], job_id: int) -> float:
    return float(job(db, job_id, "extract(epoch from run_at - clock_timestamp())")[0])


def test_each_further_one_puts_the_job_off_until_it_must_run(refresh, db):
    debounced = refresh.using(unique=["account"], debounce=20, debounce_max=50)
    first = debounced.enqueue(7, note="a")
    assert due_in(db, first.id) == pytest.approx(20, abs=2)
    for note, passed, left in (("b", 15, 20), ("c", 15, 20), ("d", 15, 5), ("e", 3, 2)):
        pass_time(db, passed)
        again = debounced.enqueue(7, note=note)
        assert (again.id, again.created, again.state, again.conflict) == (
            first.id,
            False,
            "pending",
            "debounce",
        )
        assert due_in(db, first.id) == pytest.approx(left, abs=2)
        assert first.job().args["note"] == note
    assert debounced.enqueue(8).created
    assert count(db) == 2


def test_what_comes_while_a_debounced_job_runs_makes_the_next(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    pass_time(db, 30)
    hand = Hand(db, ["refresh"])
    [claimed] = hand.claim()
    second = debounced.enqueue(2)
    assert second.created
    assert debounced.enqueue(3).id == second.id
    assert hand.settle(claimed, COMPLETED)
    assert debounced.enqueue(4).id == second.id
    assert job(db, first.id, "args, state") == ({"account": 1}, "completed")
    assert job(db, second.id, "args, state, unique_key") == ({"account": 4}, "pending", None)


def test_of_a_batch_the_last_one_is_debounced(refresh, db):
    debounced = refresh.using(unique=["account"], debounce=20)
    handles = debounced.enqueue_many([{"account": n % 2, "note": str(n)} for n in range(6)])
    assert [handle.created for handle in handles] == [False, False, False, False, True, True]
    assert {handle.id for handle in handles[::2]} == {handles[4].id}
    assert handles[4].job().args["note"] == "4"
    again = debounced.enqueue_many([{"account": 0, "note": "x"}, {"account": 0, "note": "y"}])
    assert {(handle.id, handle.created, handle.state) for handle in again} == {
        (handles[4].id, False, "pending")
    }
    assert handles[4].job().args["note"] == "y"
    assert count(db) == 2


def test_a_cancelled_job_leaves_its_debounce(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    run(db, statements.cancel(first.id))
    assert debounced.enqueue(2).created


def test_the_key_of_a_debounce_lasts_as_long_as_its_job(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    pass_time(db, 30 * 86_400)
    assert run(db, statements.purge(100))[0] == 0
    assert debounced.enqueue(2).id == first.id
    finish_at_once(db)
    assert run(db, statements.purge(100))[0] == 1


def finish_at_once(db: Connection[Any]) -> None:
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    finish(db)


# ------------------------------------------------------------------ throttle and idempotency: what is told


def test_the_first_of_a_window_wins_and_is_named_after_its_end(refresh, db):
    throttled = refresh.using(unique=["account"], throttle=60)
    first = throttled.enqueue(7, note="a")
    again = throttled.enqueue(7, note="b")
    assert (again.id, again.created, again.state, again.conflict) == (first.id, False, "pending", "throttle")
    finish(db, WON)
    later = throttled.enqueue_many([{"account": 7}, {"account": 8}, {"account": 8}])
    assert (later[0].id, later[0].state, later[0].stored_result) == (first.id, "completed", {"sum": 3})
    assert [handle.created for handle in later] == [False, True, False]
    assert later[2].id == later[1].id
    pass_time(db, 61)
    assert throttled.enqueue(7).created
    assert not throttled.enqueue(7).created
    assert job(db, first.id, "unique_key") == (None,)


def test_a_throttle_and_an_idempotency_key_of_one_name_are_two_keys(refresh):
    assert refresh.using(unique_key="k", throttle=60).enqueue(1).created
    assert refresh.using(unique_key="k", debounce=60).enqueue(2).created
    assert refresh.using(idempotency_key="k").enqueue(3).created
    assert refresh.using(unique_key="k").enqueue(4).created


def test_long_keys_are_throttled_and_debounced_too(refresh):
    for rule in ("throttle", "debounce"):
        keyed = refresh.using(unique_key="k" * 255, **{rule: 60})
        assert keyed.enqueue(1).created
        assert not keyed.enqueue(2).created


@pytest.mark.parametrize("kept_by", ["its row", "its key after its day", "its key after a purge"])
@pytest.mark.parametrize("outcome", [WON, Outcome.cancelled("enough")], ids=lambda outcome: outcome.state)
def test_a_repeated_request_is_told_how_the_first_one_ended(refresh, db, outcome, kept_by):
    make_days(db, *range(9))
    keyed = refresh.using(idempotency_key="i", idempotency_ttl="30d")
    first = keyed.enqueue(7)
    assert keyed.enqueue(7).stored_result is None
    finish(db, outcome)
    if kept_by != "its row":
        forget(db, by_purge=kept_by.endswith("purge"))
    assert count(db) == (kept_by == "its row")
    again = keyed.enqueue(7)
    assert (again.id, again.created, again.state) == (first.id, False, outcome.state)
    asked = db.execute(
        "select result, error from pgqueue.enqueue('refresh', '{\"account\": 7}', '{\"idempotency_key\": \"i\"}')"
    )
    assert asked.fetchone() == (again.stored_result, again.stored_error)
    if outcome is WON:
        assert again.stored_result == again.result() == asyncio.run(again.aresult()) == {"sum": 3}
        assert again.stored_error is None
    else:
        assert again.stored_error == "enough"
        with pytest.raises(JobFailedError, match=f"Job {first.id} is cancelled: enough"):
            again.result()
    with pytest.raises(IdempotencyConflictError):
        keyed.enqueue(8)
    db.execute("update pgqueue.idempotency_keys set expires_at = clock_timestamp()")
    anew = keyed.enqueue(8)
    assert anew.created
    assert keyed.enqueue(8).state == "pending", "what was remembered is forgotten with its time"


def forget(db: Connection[Any], *, by_purge: bool) -> None:
    """Retention removes what has finished, as if that were days ago: with its day, or because its queue keeps less."""
    if by_purge:
        db.execute("insert into pgqueue.queues (name, retention) values ('patient', '7 days')")
        db.execute("update pgqueue.queues set retention = '2 days' where name = 'default'")
    ago = 5 if by_purge else 8
    db.execute("update pgqueue.jobs_done set finished_at = finished_at - make_interval(days => %s)", [ago])
    if by_purge:
        run(db, statements.purge_jobs(name_of(ago), 0, 1000))
    else:
        change = run(db, statements.drop_partitions())
        assert change
        assert (change.name, change.what) == (name_of(ago), "dropped")


def test_a_dead_job_is_told_with_its_error(refresh, db):
    keyed = refresh.using(idempotency_key="i")
    keyed.enqueue(7)
    finish(db, BOOM)
    again = keyed.enqueue(7)
    assert (again.state, again.stored_error) == ("dead", "ValueError: boom")


def test_a_task_that_keeps_no_rows_has_no_outcome_to_tell(refresh, db):
    keyed = refresh.using(idempotency_key="i")
    keyed.enqueue(7)
    finish(db, Outcome.completed(None, "none"))
    assert keyed.enqueue(7).state == "deleted"


def test_an_async_enqueue_knows_keys_too(app, refresh):
    async def play() -> list[Any]:
        keyed = refresh.using(unique=["account"])
        try:
            return [
                await keyed.aenqueue(7),
                await keyed.aenqueue(7),
                *await keyed.aenqueue_many([{"account": 8}] * 2),
            ]
        finally:
            await app.aclose()

    assert [handle.created for handle in asyncio.run(play())] == [True, False, True, False]


def test_a_bad_combination_in_a_batch_is_refused_before_anything_is_sent(refresh, db):
    with pytest.raises(PgQueueError, match="without a key"):
        refresh.enqueue_many([refresh.using(throttle=5).job(1)])
    assert count(db) == 0


def test_a_batch_that_is_refused_changes_no_debounced_job_either(
    app: App, db: Connection[Any], connect: Any
) -> None:
    @app.task(name="both")
    def both(a: int) -> None: ...

    mine = connect(autocommit=False)

    def enqueue(a: int) -> None:
        app.enqueue_many(
            [both.using(unique_key="d", debounce=60).job(a=a), both.using(idempotency_key="i").job(a=a)], mine
        )

    enqueue(1)
    mine.commit()
    with pytest.raises(IdempotencyConflictError):
        enqueue(2)
    mine.commit()
    assert db.execute("select args ->> 'a' from pgqueue.jobs").fetchall() == [("1",), ("1",)]
