"""Tests of the connections that callers pass to methods of pgqueue."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from pgqueue import App, JobHandle
from pgqueue.app.enqueue import Enqueuer
from pgqueue.database.joining import given
from pgqueue.errors import WrongConnectionError

app = App("postgresql://nowhere.invalid/none")


@app.task(name="t")
def t() -> None: ...


handle = JobHandle(1, store=app.store)

# Each function passes its argument as a connection to one method.
CALLS: dict[str, Callable[[Any], Any]] = {
    "using": t.using,
    "using of a chosen task": t.using(priority=1).using,
    "enqueue_many": lambda connection: app.enqueue_many([t.job()], connection),
    "aenqueue_many": lambda connection: asyncio.run(app.aenqueue_many([t.job()], connection)),
    "cancel": handle.cancel,
    "acancel": lambda connection: asyncio.run(handle.acancel(connection)),
    "revive": handle.revive,
    "arevive": lambda connection: asyncio.run(handle.arevive(connection)),
    "edit": lambda connection: handle.edit(connection, priority=1),
    "aedit": lambda connection: asyncio.run(handle.aedit(connection, priority=1)),
}


@pytest.mark.parametrize("call", CALLS)
def test_none_is_refused_as_a_connection_by_every_call_that_joins_a_transaction(call):
    with pytest.raises(WrongConnectionError, match="None is given in place of a connection"):
        CALLS[call](None)


def test_every_method_that_joins_a_transaction_is_among_the_calls_that_refuse_none():
    joining = {
        name
        for owner in (App, Enqueuer, JobHandle)
        for name, method in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_") and "connection" in inspect.signature(method).parameters
    }
    assert joining == {call.partition(" ")[0] for call in CALLS}


def test_a_connection_that_was_chosen_is_kept_when_more_options_are_chosen():
    connection = object()
    chosen = t.using(connection).using(priority=1)
    assert chosen._connection is connection
    assert given(connection) is connection
