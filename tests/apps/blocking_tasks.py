"""Handlers that block the event loop or the whole process that runs them, and other handlers that block nothing."""

from __future__ import annotations

import re

import psycopg

from pgqueue import App

app = App()


@app.task(name="block")
async def block(gate: int) -> None:
    """Waits for the advisory lock ``gate`` with a call that blocks the event loop. No async handler should do this."""
    with psycopg.connect(app.dsn, autocommit=True) as own:
        own.execute("select pg_advisory_lock_shared(%s)", [gate])


@app.task(name="wait")
async def wait(gate: int) -> None:
    async with await psycopg.AsyncConnection.connect(app.dsn, autocommit=True) as own:
        await own.execute("select pg_advisory_lock_shared(%s)", [gate])


@app.task(name="nothing")
async def nothing() -> None: ...


@app.task(name="hold_the_lock")
def hold_the_lock() -> None:
    re.match("(a+)+$", "a" * 60 + "b")
