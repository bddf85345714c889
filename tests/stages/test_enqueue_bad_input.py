"""An enqueue refuses bad input. If an INSERT in SQL stores bad input nevertheless, the job becomes dead and harms no other job."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue import App, PgQueueError, Task
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidArgumentsError, InvalidBatchError, InvalidPayloadError, PayloadTooLargeError
from pgqueue.model.new_job import in_batches
from tests.command_line import pgq, shop


@pytest.fixture
def echo(app: App) -> Task[..., Any]:
    @app.task(name="echo")
    def echo(value): ...

    return echo


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": "a\x00b"}, "PGQ-405"),
        ({"queue": "a b"}, "PGQ-405"),
        ({"queue": "q" * 64}, "63 characters at most"),
        ({"unique_key": "a\x00b"}, r"without U\+0000"),
        ({"unique_key": ""}, "give 1 to 255"),
        ({"unique_key": "k" * 256}, "256 bytes"),
        ({"unique_key": "ż" * 128}, "256 bytes"),
        ({"unique_key": 5}, "unique_key is 5"),
        ({"idempotency_key": "k" * 256}, "idempotency_key has"),
        ({"concurrency_key": "\ud800"}, "valid Unicode"),
        ({"priority": 40_000}, "from -32768 to 32767"),
        ({"priority": 1.5}, "priority is 1.5"),
        ({"priority": True}, "priority is True"),
        ({"max_attempts": 0}, "from 1 to 10000"),
        ({"max_attempts": -1}, "from 1 to 10000"),
        ({"max_attempts": 2**31}, "from 1 to 10000"),
        pytest.param({"max_attempts": 10**5000}, "from 1 to 10000", id="10^5000 attempts"),
        ({"run_at": datetime(2031, 1, 1)}, "run_at needs a time zone"),  # noqa: DTZ001
        ({"run_at": "2031-01-01T00:00Z"}, "give a datetime with a time zone"),
        ({"expires": "2031-01-01T00:00Z"}, "or a datetime with a time zone"),
        ({"deadline": "soon"}, "or a datetime with a time zone"),
        ({"run_at": datetime(1999, 12, 31, tzinfo=UTC)}, "from year 2000 to 2999"),
        ({"run_at": datetime.max.replace(tzinfo=UTC)}, "from year 2000 to 2999"),
        ({"delay": math.nan}, "delay is nan"),
        ({"delay": 1e18}, "a year at most"),
        ({"delay": timedelta.max}, "a year at most"),
        ({"delay": "tomorrow"}, "delay is 'tomorrow'"),
        ({"delay": 1, "run_at": datetime(2031, 1, 1, tzinfo=UTC)}, "both given"),
        ({"timeout": 0}, "more than 0 seconds"),
        ({"timeout": -1}, "more than 0 seconds"),
        ({"timeout": 5e-7}, "more than 0 seconds"),
        ({"idempotency_ttl": math.inf}, "idempotency_ttl is inf"),
        ({"idempotency_ttl": "1h"}, "idempotency_ttl is given without an idempotency_key"),
        ({"unique_key": 7}, "unique_key is 7.  do: give a text$"),
        ({"unique_key": "k", "debounce_max": 5}, "debounce_max is given without debounce"),
        ({"unique_key": "k", "debounce": 5, "debounce_max": 4}, "debounce_max is shorter than debounce"),
        ({"tags": "abc"}, "at most 32 texts"),
        ({"tags": ["t"] * 33}, "at most 32 texts"),
        ({"tags": ["t" * 65]}, "a tag has 65 bytes"),
        ({"tags": [5]}, "a tag is 5"),
        ({"meta": [1]}, "meta is"),
        ({"meta": {1: 2}}, "meta is not JSON: 1"),
        ({"meta": {"a": {1}}}, "meta is not JSON: a: input was not a valid JSON value"),
        ({"meta": {"a": math.nan}}, r"\$.a is nan"),
        ({"meta": {"a": "\x00"}}, r"U\+0000"),
        ({"meta": {"a": "\ud800"}}, "meta"),
        ({"meta": {"\ud800": 1}}, "lone surrogate"),
        ({"meta": {"a": "x" * 70_000}}, "PGQ-403  meta"),
        ({"priorty": 1}, "no option priorty"),
    ],
)
def test_the_error_for_a_bad_option_contains_the_option_and_the_values_that_are_allowed(
    echo, db, options, message
):
    with pytest.raises(PgQueueError, match=message):
        echo.using(**options).enqueue(1)
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


def test_the_error_lists_the_items_that_were_not_made_by_task_job(echo, app, db):
    made = echo.job(1)
    for wrong, said in (
        ([made, echo], r"1 of the items are bad: \[1\] it is a Task"),
        ([{"value": 1}], r"\[0\] it is a dict, not a job made by task.job"),
        (made, r"5 of the items are bad: \[0\] it is a str"),
    ):
        with pytest.raises(InvalidBatchError, match=said):
            app.enqueue_many(wrong)
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


def test_deeply_nested_meta_is_refused(echo):
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(PgQueueError, match="meta"):
        echo.using(meta={"a": value})


def test_options_at_their_limits_are_stored(echo, db):
    handle = echo.using(
        queue="q" * 63, priority=-32_768, max_attempts=10_000, unique_key="ż" * 127 + "z", idempotency_key="🙂" * 63,
        tags=["t" * 64] * 32, delay=365 * 86_400, timeout=365 * 86_400, meta={"a": "\u202e\t"},
    ).enqueue(10**399)  # fmt: skip
    assert handle.job().args == {"value": 10**399}


@pytest.mark.parametrize(
    "value",
    [[1] * 131_000, [[]] * 87_000, ["a"] * 65_000, [{"a": 1}] * 29_000, [1.5] * 65_000],
    ids=lambda value: str(value[0]),
)
def test_the_table_accepts_arguments_that_python_accepts(echo, value):
    assert echo.enqueue(value).job().args["value"] == value


def test_arguments_in_another_order_are_the_same_request_under_an_idempotency_key(app):
    @app.task(name="pair")
    def pair(a: int, b: dict[str, int]) -> None: ...

    keyed = pair.using(idempotency_key="k")
    assert keyed.enqueue(a=1, b={"x": 1, "y": 2}).created
    assert not keyed.enqueue(b={"y": 2, "x": 1}, a=1).created


# ------------------------------------------------------------------ any payload at all

TEXTS = st.text(
    st.characters(exclude_categories=()) | st.sampled_from('\x00\ud800\ufffe\u202e\u2028\\"/'), max_size=6
)
NUMBERS = st.integers() | st.integers(-(10**410), 10**410) | st.floats()
ODD = st.sampled_from([b"a", {1}, object(), datetime(2031, 1, 1, tzinfo=UTC), (1,), math.nan, -math.inf])
PAYLOADS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ANYTHING = st.recursive(PAYLOADS | ODD, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS | st.integers(), inner, max_size=2), max_leaves=4)  # fmt: skip


def same(one: Any, two: Any) -> bool:
    """Returns whether the two values are equal. jsonb has only one type of number, so the float 1e23 can come back as an int."""
    if isinstance(one, float) and type(two) in (int, float):
        return one == float(two)
    if isinstance(one, dict):
        return (
            isinstance(two, dict)
            and one.keys() == two.keys()
            and all(same(one[key], two[key]) for key in one)
        )
    if isinstance(one, list):
        return isinstance(two, list) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(payload=ANYTHING)
def test_any_argument_comes_back_equal_or_is_refused_with_an_error_of_pgqueue(echo, db, payload):
    try:
        job = echo.job(payload)
    except (InvalidArgumentsError, InvalidPayloadError, PayloadTooLargeError) as error:
        str(error).encode()
        return
    with db.transaction():
        [(job_id, *_)] = run(db, statements.enqueue_many(in_batches([job])))
    [(text,)] = db.execute("select args::text from pgqueue.jobs where id = %s", [job_id]).fetchall()
    assert same(payload, echo.spec.decode(text)["value"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meta=st.dictionaries(TEXTS, ANYTHING, max_size=3), tags=st.lists(TEXTS, max_size=3), key=TEXTS)
def test_any_option_is_stored_as_given_or_refused_with_an_error_of_pgqueue(echo, db, meta, tags, key):
    try:
        job = echo.using(meta=meta, tags=tags, concurrency_key=key).job(1)
    except PgQueueError as error:
        str(error).encode()
        return
    with db.transaction():
        [(job_id, *_)] = run(db, statements.enqueue_many(in_batches([job])))
    stored = run(db, statements.get_job(job_id))
    assert (stored.tags, stored.concurrency_key) == (tuple(tags), key)
    assert same(meta, stored.meta)


# ------------------------------------------------------------------ rows that SQL stores without the checks of Python

# For each task: the state in which its job must end, and the beginning of the error that must be stored.
UNSETTLED = {
    "unspeakable": ("dead", "ValueError: a\ufffdb\\ud800"),
    "unstorable": (
        "dead",
        "BadResultError: PGQ-610  Task unstorable returned a value of type dict, which is not JSON",
    ),
}


def test_an_attempt_is_settled_even_if_no_column_can_store_its_error_or_its_result(dsn, db, tmp_path):
    for task in UNSETTLED:
        db.execute("insert into pgqueue.jobs (task, max_attempts) values (%s, 1)", [task])
    done = pgq("work", "-A", "shop:app", "--drain", "--poll", "0.05", cwd=shop(tmp_path), dsn=dsn)
    assert done.returncode == 0, done.stderr
    for task, state, error in db.execute("select task, state, last_error from pgqueue.jobs").fetchall():
        assert (state, error[: len(UNSETTLED[task][1])]) == UNSETTLED[task]


# Arguments that a worker cannot decode, or that do not fit the task ``echo``.
POISON = {
    "5001 digits": '{{"value": {}}}'.format("9" * 5001),
    "131072 digits": '{"value": 1e131071}',
    "nested 5000": '{{"value": {}{}}}'.format("[" * 5000, "]" * 5000),
    "missing": "{}",
    "unknown": '{"value": 1, "valeu": 2}',
}


def test_jobs_with_bad_arguments_become_dead_and_the_other_jobs_complete(
    dsn: str, db: Connection[Any], tmp_path
) -> None:
    def insert(args: str) -> int:
        [(job_id,)] = db.execute(
            "insert into pgqueue.jobs (task, args) values ('echo', %s) returning id", [args]
        ).fetchall()
        return job_id

    poisoned, healthy = {}, []
    for name, args in POISON.items():
        healthy.append(insert('{"value": 1}'))
        poisoned[insert(args)] = name
    healthy.append(insert('{"value": 2}'))

    listed = pgq("jobs", "list", "--json", cwd=shop(tmp_path), dsn=dsn)
    assert listed.returncode == 0, listed.stderr
    done = pgq("work", "-A", "shop:app", "--drain", "--poll", "0.05", cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

    ended = dict(db.execute("select id, state from pgqueue.jobs").fetchall())
    assert {job_id: ended[job_id] for job_id in healthy} == dict.fromkeys(healthy, "completed")
    reasons = dict(db.execute("select id, reason from pgqueue.dead_letters").fetchall())
    assert {poisoned[job_id]: reason in {"undecodable", "bad_arguments"} for job_id, reason in reasons.items()} == dict.fromkeys(POISON, True)  # fmt: skip
    widest = next(job_id for job_id, name in poisoned.items() if name == "131072 digits")
    shown = pgq("jobs", "show", str(widest), cwd=tmp_path, dsn=dsn)
    assert (shown.returncode, "dead" in shown.stdout) == (0, True)
