"""The same task in pgqueue, procrastinate and pgqueuer: it writes a row of ``effects``. Run as a module, it produces jobs of a system, or works on them.

``python -m tests.apps.adopted_tasks procrastinate produce 800`` or ``… procrastinate work``; the DSN is in PGQUEUE_DSN.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

import psycopg

from pgqueue import App, Job

PATH = "tests.apps.adopted_tasks:app"
AT_ONCE = 10  # jobs in a transaction of the producer
APART = 0.05  # seconds between these transactions
LASTS = 0.02  # seconds that a handler works before and after its effect, so that kills find jobs in each part
WRITE = "insert into effects (n, by) values (%s, %s)"
app = App(name="adopting")


@app.task(name="effect")
async def effect(job: Job, n: int) -> None:
    await asyncio.sleep(LASTS)
    async with job.atransaction() as connection:
        await connection.execute(WRITE, [n, "pgqueue"])


async def there(n: int, by: str, connection: psycopg.AsyncConnection[Any]) -> None:
    await asyncio.sleep(LASTS)
    await connection.execute(WRITE, [n, by])
    await asyncio.sleep(LASTS)


async def of_procrastinate(dsn: str, jobs: int | None) -> None:
    import procrastinate

    theirs = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    effects = await psycopg.AsyncConnection.connect(dsn, autocommit=True)

    @theirs.task(name="effect", queue="mail")
    async def run(n: int) -> None:
        await there(n, "procrastinate", effects)

    async with theirs.open_async():
        if jobs is None:
            await theirs.run_worker_async(concurrency=5, fetch_job_polling_interval=0.1)
            return
        for first in range(0, jobs, AT_ONCE):
            await run.batch_defer_async(*({"n": n} for n in range(first, min(first + AT_ONCE, jobs))))
            await asyncio.sleep(APART)


async def of_pgqueuer(dsn: str, jobs: int | None) -> None:
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(dsn)
    effects = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    if jobs is None:
        worker = PgQueuer.from_asyncpg_connection(connection)

        @worker.entrypoint("effect", concurrency_limit=5)
        async def run(job: Any) -> None:
            await there(json.loads(job.payload)["n"], "pgqueuer", effects)

        await worker.run(batch_size=5, heartbeat_timeout=timedelta(seconds=2))
        return
    queries = Queries.from_asyncpg_connection(connection)
    for first in range(0, jobs, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, jobs))
        payloads = [json.dumps({"n": n}).encode() for n in numbers]
        await queries.enqueue(["effect"] * len(payloads), payloads, [0] * len(payloads))
        await asyncio.sleep(APART)


if __name__ == "__main__":
    system, what, *rest = sys.argv[1:]
    of = {"procrastinate": of_procrastinate, "pgqueuer": of_pgqueuer}[system]
    asyncio.run(of(os.environ["PGQUEUE_DSN"], int(rest[0]) if what == "produce" else None))
