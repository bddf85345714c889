"""The SQL API, which any language can use. The row of a job in pgqueue.jobs shows the state of the job correctly at every moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.worker_by_hand import Hand

BOOM = ValueError("boom")


def enqueue(db: Connection[Any], task: str = "t", args: Any = None, **options: Any) -> tuple[Any, ...]:
    """Enqueues a job. The returned row begins with id, created, state, conflict."""
    row = db.execute(
        "select * from pgqueue.enqueue(%s, %s, %s)", [task, Jsonb(args or {}), Jsonb(options)]
    ).fetchone()
    assert row is not None
    return row


def truth(db: Connection[Any], job_id: int) -> tuple[Any, ...]:
    """Returns the columns that a person reads in psql to see what has become of a job."""
    rows = db.execute(
        "select state, attempt, last_error from pgqueue.jobs where id = %s", [job_id]
    ).fetchall()
    assert len(rows) == 1, "a job has exactly one row"
    return rows[0]


def call(db: Connection[Any], verb: str, job_id: int) -> str | None:
    row = db.execute(f"select pgqueue.{verb}(%s)".encode(), [job_id]).fetchone()
    return row[0] if row else None


# ------------------------------------------------------------------ what the row of a job shows


@pytest.fixture
def job(db: Connection[Any]) -> int:
    return enqueue(db, max_attempts=2)[0]


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t"])


@pytest.mark.parametrize(
    ("outcome", "expected", "reason"),
    [
        (COMPLETED, ("completed", 1, None), None),
        (Outcome.retried(0, BOOM), ("retrying", 1, "ValueError: boom"), "failed"),
        (Outcome.dead("permanent_error", BOOM), ("dead", 1, "ValueError: boom"), "permanent_error"),
        (Outcome.snoozed(60), ("pending", 0, None), "snoozed"),
        (Outcome.released(), ("pending", 0, None), "released"),
        (Outcome.cancelled("enough"), ("cancelled", 1, "enough"), "cancelled"),
    ],
    ids=lambda value: value.reason if isinstance(value, Outcome) else "",
)
def test_the_row_of_a_job_shows_each_outcome_of_an_attempt(db, hand, job, outcome, expected, reason):
    assert truth(db, job) == ("pending", 0, None)
    [attempt] = hand.claim()
    assert truth(db, job) == ("running", 1, None)
    assert hand.settle(attempt, outcome)
    assert truth(db, job) == expected
    assert [t.reason for t in run(db, statements.list_transitions(job))] == ([reason] if reason else [])
    assert not hand.settle(attempt, COMPLETED), "the lease_id can settle only once"
    assert truth(db, job) == expected


def test_the_row_of_a_job_shows_its_state_after_each_step_from_its_first_attempt_to_its_completion(
    db, hand, job
):
    hand.settle(hand.claim()[0], Outcome.retried(0, BOOM))
    [second] = hand.claim()
    assert truth(db, job) == ("running", 2, "ValueError: boom"), (
        "the error of the first attempt stays in the row"
    )
    hand.settle(second, Outcome.dead("attempts_exhausted", KeyError("k")))
    assert truth(db, job) == ("dead", 2, "KeyError: 'k'")
    assert call(db, "revive", job) == "revived"
    assert truth(db, job) == ("pending", 0, "KeyError: 'k'")
    [third] = hand.claim()
    assert third.lease_id > second.lease_id, "a lease_id only grows"
    hand.settle(third, COMPLETED)
    assert truth(db, job) == ("completed", 1, "KeyError: 'k'")
    story = [(t.from_state, t.to_state, t.reason) for t in run(db, statements.list_transitions(job))]
    assert story == [
        ("running", "retrying", "failed"),
        ("running", "dead", "attempts_exhausted"),
        ("dead", "pending", "revived"),
    ]


def test_a_claim_is_not_visible_before_its_commit_nor_after_its_rollback(db, connect, job):
    with connect(autocommit=False) as other:
        hand = Hand(other, ["t"])
        assert hand.claim()
        assert truth(db, job) == ("pending", 0, None)
        other.rollback()
    assert truth(db, job) == ("pending", 0, None)


# ------------------------------------------------------------------ cancel and revive


def finish(db: Connection[Any], hand: Hand, outcome: Outcome) -> None:
    hand.settle(hand.claim()[0], outcome)


# Each function brings a pending job into this state.
REACH: dict[str, Callable[[Connection[Any], Hand], object]] = {
    "pending": lambda db, hand: None,
    "running": lambda db, hand: hand.claim(),
    "retrying": lambda db, hand: finish(db, hand, Outcome.retried(60, BOOM)),
    "waiting": lambda db, hand: db.execute("update pgqueue.jobs_live set state = 'waiting'"),
    "completed": lambda db, hand: finish(db, hand, COMPLETED),
    "dead": lambda db, hand: finish(db, hand, Outcome.dead("permanent_error", BOOM)),
    "cancelled": lambda db, hand: finish(db, hand, Outcome.cancelled("enough")),
}


@pytest.mark.parametrize(
    ("state", "answer", "after"),
    [
        ("pending", "cancelled", "cancelled"),
        ("retrying", "cancelled", "cancelled"),
        ("waiting", "cancelled", "cancelled"),
        ("running", "requested", "running"),
        ("completed", "completed", "completed"),
        ("dead", "dead", "dead"),
        ("cancelled", "cancelled", "cancelled"),
    ],
)
def test_the_answer_of_cancel_depends_on_the_state_of_the_job(db, hand, job, state, answer, after):
    REACH[state](db, hand)
    assert truth(db, job)[0] == state
    assert call(db, "cancel", job) == answer
    assert truth(db, job)[0] == after
    assert run(db, statements.list_cancel_requests(hand.id)) == ([job] if answer == "requested" else [])


@pytest.mark.parametrize(
    ("state", "answer", "after"),
    [
        ("dead", "revived", "pending"),
        ("cancelled", "revived", "pending"),
        ("completed", "completed", "completed"),
        ("pending", "pending", "pending"),
        ("running", "running", "running"),
        ("retrying", "retrying", "retrying"),
    ],
)
def test_revive_changes_only_a_dead_or_cancelled_job(db, hand, job, state, answer, after):
    REACH[state](db, hand)
    assert call(db, "revive", job) == answer
    assert truth(db, job)[0] == after


def test_revive_fails_if_another_job_has_the_unique_key_now(db, hand):
    first = enqueue(db, unique_key="k")[0]
    finish(db, hand, Outcome.dead("permanent_error", BOOM))
    enqueue(db, unique_key="k")
    assert call(db, "revive", first) == "unique_key"
    assert truth(db, first)[0] == "dead"


@pytest.mark.parametrize("verb", ["cancel", "revive"])
def test_cancel_and_revive_return_null_if_the_job_does_not_exist(db, verb):
    assert [call(db, verb, job_id) for job_id in (0, -1, 10**9, 2**63 - 1)] == [None] * 4


@pytest.mark.parametrize("verb", ["cancel", "revive"])
def test_cancel_and_revive_join_the_callers_transaction(db, hand, job, connect, verb):
    REACH["pending" if verb == "cancel" else "dead"](db, hand)
    before = truth(db, job)
    with connect(autocommit=False) as other:
        call(other, verb, job)
        assert truth(other, job) != before
        other.rollback()
    assert truth(db, job) == before


# ------------------------------------------------------------------ enqueue


def test_sql_can_enqueue_a_job_with_nothing_but_the_name_of_a_task(db, hand):
    (one, created, state, conflict, _, _) = db.execute("select * from pgqueue.enqueue('t')").fetchone()
    assert (created, state, conflict) == (True, "pending", None)
    [(two,)] = db.execute("insert into pgqueue.jobs (task) values ('t') returning id").fetchall()
    rows = db.execute("""select id from pgqueue.enqueue_many('[{"task": "t"}, {"task": "t"}]')""").fetchall()
    assert {attempt.id for attempt in hand.claim()} == {one, two, rows[0][0], rows[1][0]}


def test_enqueue_many_returns_for_each_job_whether_it_is_a_duplicate(db):
    """An option that is null counts as an option that is not given."""
    items = [{"task": "t", "unique_key": "a", "queue": None, "delay": None}, {"task": "t", "unique_key": "a"}]
    rows = db.execute("select * from pgqueue.enqueue_many(%s)", [Jsonb(items)]).fetchall()
    assert [(row[0], row[2], row[4]) for row in rows] == [(1, True, None), (2, False, "unique_key")]
    assert rows[0][1] == rows[1][1]
    assert db.execute("select * from pgqueue.enqueue_many('[]')").fetchall() == []


def test_enqueue_many_stores_nothing_if_an_idempotency_key_was_used_before_with_other_arguments(db):
    first = enqueue(db, args={"a": 1}, idempotency_key="k")[0]
    items = [{"task": "t", "idempotency_key": "new"}, {"task": "t", "idempotency_key": "k"}]
    rows = db.execute("select id, created, conflict from pgqueue.enqueue_many(%s)", [Jsonb(items)]).fetchall()
    assert [row[1:] for row in rows] == [(False, None), (False, "idempotency_mismatch")]
    assert rows[1][0] == first
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)
    assert db.execute("select key from pgqueue.idempotency_keys").fetchall() == [("k",)]


def test_a_rolled_back_enqueue_leaves_nothing(db, connect):
    with connect(autocommit=False) as other:
        enqueue(other, unique_key="u", idempotency_key="i")
        other.rollback()
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)
    assert db.execute("select count(*) from pgqueue.idempotency_keys").fetchone() == (0,)


def test_an_insert_into_pgqueue_jobs_fails_if_another_job_of_the_task_has_the_unique_key(db):
    enqueue(db, unique_key="k")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("insert into pgqueue.jobs (task, unique_key) values ('t', 'k')")
    db.execute("insert into pgqueue.jobs (task, unique_key) values ('u', 'k')")


# ------------------------------------------------------------------ bad input

LONG = "k" * 256
CHECKED: dict[str, Any] = {
    **{f"queue {name!a}": {"queue": name} for name in ("", "a b", "1a", "a;b", "../a", "a\u200b", "é", "q" * 64)},
    **{f"task {name!a}": {"task": name} for name in ("", "a b", "a'b", "🙂", "t" * 128)},
    **{f"args {value!a}": {"args": Jsonb(value)} for value in ([], 1, "a", None)},
    "args too large": {"args": Jsonb({"a": "x" * 2_200_000})},
    "meta []": {"meta": Jsonb([])},
    **{f"run_at {text}": {"run_at": text} for text in ("-infinity", "infinity", "1999-12-31Z", "3000-01-01Z", "0044-03-15 BC")},
    "max_attempts 0": {"max_attempts": 0},
    "max_attempts -1": {"max_attempts": -1},
    "max_attempts 2^31": {"max_attempts": 2**31},
    "priority 40000": {"priority": 40_000},
    "timeout 0": {"timeout": "0"},
    "timeout -1": {"timeout": "-1 s"},
    "timeout too long": {"timeout": "366 days"},
    "unique_key empty": {"unique_key": ""},
    "unique_key 256": {"unique_key": LONG},
    "unique_key bytes": {"unique_key": "ż" * 128},
    "concurrency_key 256": {"concurrency_key": LONG},
    "33 tags": {"tags": ["t"] * 33},
}  # fmt: skip


@pytest.mark.parametrize("case", CHECKED)
def test_an_insert_into_pgqueue_jobs_is_refused_if_python_would_refuse_its_values(db, case):
    columns = {"task": "t", **CHECKED[case]}
    names, holes = ", ".join(columns), ", ".join(["%s"] * len(columns))
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.NumericValueOutOfRange)):
        db.execute(f"insert into pgqueue.jobs ({names}) values ({holes})".encode(), list(columns.values()))
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "a b"},
        {"priority": 40_000},
        {"priority": "high"},
        {"max_attempts": 0},
        {"delay": 1e18},
        {"delay": 1e11},
        {"timeout": 0},
        {"timeout": -1},
        {"run_at": "infinity"},
        {"run_at": "soon"},
        {"unique_key": LONG},
        {"idempotency_key": ""},
        {"idempotency_key": LONG},
        {"concurrency_key": LONG},
        {"tags": ["t"] * 33},
        {"meta": []},
        {"nosuch": 1},
    ],
    ids=str,
)
def test_the_sql_api_refuses_bad_options_and_stores_nothing(db, options):
    with pytest.raises(psycopg.Error) as caught:
        enqueue(db, **options)
    assert caught.value.sqlstate[:2] in {"22", "23", "PQ"}, (
        "the error is about the data, and no internal error of pgqueue"
    )
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)
    assert db.execute("select count(*) from pgqueue.idempotency_keys").fetchone() == (0,)


@pytest.mark.parametrize(
    "jobs", ["{}", "1", '"a"', "[1]", "[[]]", "[null]", '[{"args": {}}]', '[{"task": null}]']
)
def test_enqueue_many_refuses_a_value_that_is_no_list_of_jobs(db, jobs):
    with pytest.raises(psycopg.Error) as caught:
        db.execute("select pgqueue.enqueue_many(%s)", [jobs])
    assert caught.value.sqlstate[:2] in {"22", "PQ"}


def test_the_error_about_an_unknown_option_lists_the_known_options(db):
    with pytest.raises(psycopg.Error, match=r'unknown option \{"priorty": 1\}.*task t') as caught:
        enqueue(db, priorty=1)
    assert "priority" in caught.value.diag.message_hint


def test_a_job_with_a_negative_delay_is_due_immediately(db, hand):
    enqueue(db, delay=-5)
    assert len(hand.claim()) == 1


# ------------------------------------------------------------------ docs/rules/sql.md


def test_a_time_without_a_zone_is_a_time_in_the_zone_of_the_session(db):
    db.execute("set timezone = 'Asia/Tokyo'")
    options = {"run_at": "2030-01-01 09:00", "expires": "2030-01-01 09:00", "deadline": "2030-01-01 09:00"}
    [job, *_] = enqueue(db, **options)
    times = db.execute(
        "select distinct unnest(array[run_at, expires_at, deadline_at]) at time zone 'UTC' from pgqueue.jobs where id = %s",
        [job],
    ).fetchall()
    assert [str(time) for (time,) in times] == ["2030-01-01 00:00:00"]


def test_an_insert_returns_the_marks_of_options_that_the_declaration_fills_later(db):
    marks = "queue, max_attempts, priority, extract(day from timeout)::int"
    text = f"insert into pgqueue.jobs (task) values ('t') returning id, {marks}"
    [job, *returned] = db.execute(text.encode()).fetchone()
    assert returned == ["pgqueue.declared", 9999, -32768, 365]
    found = db.execute(f"select {marks} from pgqueue.jobs where id = %s".encode(), [job]).fetchone()
    assert found == ("default", 6, 0, None)


def test_a_job_cannot_be_cancelled_by_an_update(db, job):
    with pytest.raises(psycopg.errors.IntegrityError):
        db.execute("update pgqueue.jobs set state = 'cancelled' where id = %s", [job])
    assert [call(db, "cancel", job) for _ in range(2)] == ["cancelled", "cancelled"]


def test_the_statements_of_the_page_about_sql_run(db):
    page = (Path(__file__).parents[2] / "docs/rules/sql.md").read_text(encoding="utf-8")
    for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL):
        for statement in re.sub("--.*", "", block).split(";"):
            if statement.strip():
                db.execute(statement.encode())
    assert db.execute("select paused from pgqueue.queues where name = 'mail'").fetchone() == (False,)
