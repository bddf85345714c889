"""Handlers that let nothing else go on in their process."""

from __future__ import annotations

import re

import psycopg

from pgqueue import App

app = App()


@app.task(name="block")
async def block(gate: int) -> None:
    """Waits at the gate as no async handler should."""
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
