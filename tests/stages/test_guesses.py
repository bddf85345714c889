"""A search finds only what people see: SQL knows the same secret values as model/redaction.py, which masks them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError
from pgqueue.model.redaction import MASK
from tests.factories import enqueue, look

Db = Connection[Any]


def declare(db: Db, redact: object, task: str = "pay") -> None:
    db.execute(
        "insert into pgqueue.tasks (name, app, options, keep, redact, digest) values (%s, 'a', '{}', 'all', %s, 'x')",
        [task, json.dumps(redact)],
    )


def found(db: Db, *, reveal: bool = False, **which: Any) -> list[int]:
    return [job.id for job in run(db, statements.list_jobs(JobFilter(**which), reveal=reveal))]


@pytest.mark.parametrize(
    ("paths", "args", "is_open"),
    [
        ([["key"]], {"key": "v"}, False),
        ([["key"]], {"key": {"deep": ["v"]}}, False),
        ([["key"]], {"keys": "v"}, True),
        ([["key"]], {"other": {"key": "v"}}, True),
        ([["card", "number"]], {"card": {"owner": "v"}}, True),
        ([["card", "number"]], {"card": {"owner": "v", "number": "v"}}, False),
        ([["cards", "*", "number"]], {"cards": [{"owner": "v"}, {"number": "v"}]}, False),
        ([["cards", "*", "number"]], {"cards": {"a": {"number": "v"}}}, False),
        ([["cards", "*"]], {"cards": {"a": "v"}}, False),
        ([["cards", "*", "number"]], {"cards": [{"owner": "v"}]}, True),
        ([["**", "word"]], {"a": {"b": [{"word": "v"}]}}, False),
        ([["**", "word"]], {"word": "v"}, False),
        ([["**", "word"]], {"a": {"b": "v"}}, True),
        ([['a "quoted\\ name', "é"]], {'a "quoted\\ name': {"é": "v"}}, False),
        ([[]], {"a": "v"}, False),
        ([7], {"a": "v"}, False),
    ],
)  # fmt: skip
def test_arguments_at_a_declared_path_are_not_found(db: Db, paths: Any, args: Any, is_open: bool) -> None:
    declare(db, {"args": paths})
    job, other = enqueue(db, "pay", args), enqueue(db, "free", args)
    [shown] = run(db, statements.list_jobs(JobFilter(task="pay")))
    assert (MASK not in json.dumps(shown.args)) is is_open, "the search follows what is shown"
    assert found(db, args=json.dumps(args)) == ([other, job] if is_open else [other])
    assert found(db, args=json.dumps(args), reveal=True) == [other, job]


@pytest.mark.parametrize("redact", [[], "x", {"args": 7}])
def test_a_declaration_that_cannot_be_read_lets_nothing_be_found(db: Db, redact: object) -> None:
    declare(db, redact)
    enqueue(db, "pay", {"a": "v"})
    assert found(db, args='{"a": "v"}') == []


@pytest.mark.parametrize(
    ("secret", "error", "is_open"),
    [
        ("Hunter2-abc", "no user Hunter2-abc", False),
        ("hunter2-abc", "no user hunter", True),
        ("0123456789abcdefghij", "key 0123456789abcdef... is wrong", False),
        ("0123456789abcdefghij", "key ...456789abcdefghij is wrong", False),
        ("0123456789abcdefghij", "key 0123456 is wrong", True),
        ("first line\nsecond 'line'", "got 'first line\\nsecond \\'line\\''", False),
        ('quoted "secretly" once', 'got {"key": "quoted \\"secretly\\" once"}', False),
        (4711, "pin 4711 is wrong", False),
        ([{"a": ["deep-value"]}], "deep-value", False),
        ("abc", "abc is too short to be masked", True),
    ],
)
@pytest.mark.parametrize("name", ["key", "api key", "accessToken", "Set-Cookie"])
def test_an_error_that_contains_a_secret_value_is_not_found(
    db: Db, secret: Any, error: str, is_open: bool, name: str
) -> None:
    declare(db, {"args": [["key"]]})
    job = enqueue(db, "pay", {name: secret, "user": "ada"})
    db.execute("update pgqueue.jobs set last_error = %s where id = %s", [error, job])
    [shown] = run(db, statements.list_jobs())
    assert (shown.last_error == error) is is_open, "the search follows what is shown"
    for part in (error, error[:6], error[-3:]):
        assert found(db, error=part) == ([job] if is_open else [])
        assert found(db, error=part, reveal=True) == [job]
    assert run(db, statements.count_jobs(JobFilter(error=error), ["task"])) == [] or is_open
    assert run(db, statements.preview_action("cancel", JobFilter(error=error))) == [] or is_open


def test_jobs_of_hooks_follow_the_declaration_of_their_task(db: Db) -> None:
    declare(db, {"args": [["key"]], "result": [[]]})
    args = {"job": {"args": {"key": "hidden-1", "user": "ada"}, "result": "hidden-2"}}
    enqueue(db, "pay", args)
    db.execute("update pgqueue.jobs set task = 'pay:on_completed', last_error = 'not hidden-2'")
    assert len(found(db, args='{"job": {"args": {"user": "ada"}}}')) == 1
    assert found(db, args='{"job": {"args": {"key": "hidden-1"}}}') == []
    assert found(db, args='{"job": {"result": "hidden-2"}}') == []
    assert found(db, error="not hid") == []


def test_a_key_that_contains_secret_arguments_is_not_found(db: Db) -> None:
    declare(db, {"args": [["pin"]]})
    job = enqueue(db, "pay", {"pin": 123, "user": "ada"}, unique=True)
    key = look(db, job, "unique_key")
    assert found(db, unique_key=key) == []
    assert found(db, unique_key=key, reveal=True) == [job]
    with pytest.raises(InvalidOptionError, match="asks for a secret value"):
        found(db, unique_key='pgq:args:{"password": "x"}')
