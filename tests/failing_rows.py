"""Makes triggers that fail for chosen jobs, makes the leases of workers run out, and reads the states of the jobs afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from psycopg import Connection

from pgqueue.database.link import Link
from pgqueue.database.outage import Outage

# Codes of errors that can disappear without a change of the row: a conflict, a time limit, or a lack of memory, disk or connections on
# the server.
PASSING = ["40001", "57014", "55P03", "55000", "53300", "53100", "53200", "58030", "25006"]


def count_states(db: Connection[Any]) -> list[tuple[Any, ...]]:
    return db.execute(
        "select j.task, j.state, count(*) from pgqueue.jobs j group by 1, 2 order by 1, 2"
    ).fetchall()


def expire_lease(db: Connection[Any], worker: int) -> None:
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [worker])


def refuse(
    db: Connection[Any],
    code: str,
    events: str,
    table: str = "pgqueue.jobs_live",
    rows: str = "old.tags <> '{}'",
) -> None:
    """Makes a trigger that raises an error with this code, as a trigger of a user can. By default it does so for jobs that have a tag."""
    db.execute(
        f"create function no() returns trigger language plpgsql as $$ begin if {rows} then"
        f" raise exception 'not this one' using errcode = '{code}'; end if; return coalesce(new, old); end $$".encode()
    )
    db.execute(f"create trigger no before {events} on {table} for each row execute function no()".encode())


@asynccontextmanager
async def link(dsn: str):
    made = Link(dsn, "test", Outage(dsn))
    try:
        yield made
    finally:
        await made.close()


def with_link(dsn: str, does: Callable[[Link], Coroutine[Any, Any, Any]]) -> Any:
    async def play() -> Any:
        async with link(dsn) as made:
            return await does(made)

    return asyncio.run(play())
