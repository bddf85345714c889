"""Enqueues jobs on the caller's connection in every way that pgqueue has, and checks the rows that the database contains afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection, Connection

from pgqueue import Task

EURO = "10 €, in any encoding"


def played(note: Task[..., Any], done: int, connection: Connection[Any]) -> None:
    chosen = note.using(connection)
    one = chosen.enqueue(EURO, at=datetime(2026, 1, 2, tzinfo=UTC))
    keyed = note.using(connection, unique_key="k", delay="1h", tags=["a"], meta={"n": 1.5}).enqueue(EURO)
    again = note.using(connection, unique_key="k").enqueue("other")
    assert (again.created, again.id, again.state) == (False, keyed.id, "pending")
    ended = note.using(connection, idempotency_key="done").enqueue(EURO)
    assert (ended.id, ended.state, ended.stored_result) == (done, "completed", "€")
    few, many = chosen.enqueue_many([{"text": EURO}] * 3), chosen.enqueue_many([{"text": EURO}] * 150)
    assert all(isinstance(handle.id, int) and handle.created for handle in [one, *few, *many])
    one.edit(connection, args={"text": "edited €"}, priority=3)
    assert keyed.cancel(connection) == "cancelled"


async def played_async(note: Task[..., Any], done: int, connection: AsyncConnection[Any]) -> None:
    chosen = note.using(connection)
    one = await chosen.aenqueue(EURO, at=datetime(2026, 1, 2, tzinfo=UTC))
    keyed = await note.using(connection, unique_key="k", delay="1h", tags=["a"], meta={"n": 1.5}).aenqueue(
        EURO
    )
    again = await note.using(connection, unique_key="k").aenqueue("other")
    assert (again.created, again.id, again.state) == (False, keyed.id, "pending")
    ended = await note.using(connection, idempotency_key="done").aenqueue(EURO)
    assert (ended.id, ended.state, ended.stored_result) == (done, "completed", "€")
    few = await chosen.aenqueue_many([{"text": EURO}] * 3)
    many = await chosen.aenqueue_many([{"text": EURO}] * 150)
    assert all(isinstance(handle.id, int) and handle.created for handle in [one, *few, *many])
    await one.aedit(connection, args={"text": "edited €"}, priority=3)
    assert await keyed.acancel(connection) == "cancelled"


def check(db: Connection[Any]) -> None:
    """Checks the rows that ``played`` or ``played_async`` has stored. The caller must have committed them."""
    rows = db.execute(
        "select args ->> 'text', priority, count(*) from pgqueue.jobs_live group by 1, 2 order by 1"
    )
    assert rows.fetchall() == [(EURO, 0, 153), ("edited €", 3, 1)]
