"""The jobs that one transaction enqueued, and when it committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import App
from pgqueue.database import migrate
from pgqueue.database.pools import Pools
from pgqueue.dev import embedded
from pgqueue.ui.reading.asked import Asked
from pgqueue.ui.reading.page import Table
from pgqueue.ui.reading.pages import PAGES
from pgqueue.ui.reading.reader import reading
from tests.factories import enqueue
from tests.servers import create_database, directory_for_servers
from tests.worker_by_hand import finish_one, make_one_dead

SHOWN = 200  # jobs that the page lists at most


def shown(dsn: str, job_id: int) -> Table | None:
    """Returns the table of the transaction on a job's page, if there is one."""

    async def make() -> list[Table]:
        pools = Pools(lambda: dsn, 1)
        try:
            async with reading(pools) as reader:
                [job] = [page for page in PAGES if page.name == "job"]
                page = await job.make(reader, Asked({"job": str(job_id)}, {}))
                return [
                    block for block in page.blocks if isinstance(block, Table) and block.name == "together"
                ]
        finally:
            await pools.aclose()

    return next(iter(asyncio.run(make())), None)


@pytest.mark.parametrize("many", [2, 700])  # 700 jobs are written by COPY
def test_the_page_of_a_job_lists_the_jobs_that_its_transaction_enqueued(
    db: Connection[Any], dsn: str, many: int
) -> None:
    task = App(dsn).task(name="t")(lambda: None).using(connection=db)
    other = enqueue(db)
    with db.transaction():
        together = [enqueue(db), task.enqueue().id]
        with db.transaction():  # a savepoint is no transaction of its own
            together += [handle.id for handle in task.enqueue_many([{}] * many)]
        together += [
            row[0] for row in db.execute("insert into pgqueue.jobs (task) values ('u') returning id")
        ]
        together += [
            row[0]
            for row in db.execute("select id from pgqueue.enqueue_many(%s)", [Jsonb([{"task": "t", "unique_key": "k"}])])
        ]  # fmt: skip
        found = db.execute(
            "select array_agg(id order by id) from pgqueue.jobs where transaction_id = pg_current_xact_id()"
        ).fetchone()
        assert found == (sorted(together),)
    table = shown(dsn, together[0])
    assert table is not None
    assert [row["id"] for row in table.rows] == sorted(together)[:SHOWN]
    assert "track_commit_timestamp" in (table.note or "")
    assert shown(dsn, other) is None


def test_a_job_keeps_its_transaction_wherever_its_row_moves(db: Connection[Any]) -> None:
    job_id = enqueue(db, "t")
    before = transaction_of(db, job_id)
    make_one_dead(db, job_id, task="t")
    assert transaction_of(db, job_id) == before
    assert db.execute("select pgqueue.revive(%s)", [job_id]).fetchone() == ("revived",)
    assert transaction_of(db, job_id) == before


def transaction_of(db: Connection[Any], job_id: int) -> Any:
    [(found,)] = db.execute("select transaction_id from pgqueue.jobs where id = %s", [job_id])
    assert found is not None
    return found


@pytest.fixture
def noting() -> Iterator[str]:
    """A server that notes when transactions commit."""
    with directory_for_servers() as directory:
        server = embedded.start(
            directory / "server", settings={"fsync": "off", "track_commit_timestamp": "on"}
        )
        try:
            dsn = create_database(server.dsn, "here")
            migrate.upgrade(dsn)
            yield dsn
        finally:
            server.stop()


def test_the_wait_is_split_at_the_commit_if_the_server_notes_it(noting: str) -> None:
    with psycopg.connect(noting, autocommit=True) as db:
        with db.transaction():
            job_id = enqueue(db, "t")
            db.execute("select pg_sleep(0.2)")
        finish_one(db, task="t")
        [row] = shown_rows(noting, job_id)
        assert 0.2 <= row["to_commit"] < 10
        assert 0 <= row["to_claim"] < 10
        [(waited,)] = db.execute(
            "select extract(epoch from started_at - created_at)::float8 from pgqueue.jobs where id = %s",
            [job_id],
        )
        assert row["to_commit"] + row["to_claim"] == pytest.approx(waited, abs=1e-6)
        # In a restored database, the number can be that of any other transaction of the server, or of none yet.
        for number in ("3", "(pg_current_xact_id()::text::bigint + 1000000)", "(1::bigint << 40)"):
            db.execute(
                f"update pgqueue.jobs set transaction_id = {number}::text::xid8 where id = {job_id}".encode()
            )
            assert shown(noting, job_id) is None


def shown_rows(dsn: str, job_id: int) -> list[dict[str, Any]]:
    table = shown(dsn, job_id)
    assert table is not None
    return [dict(row) for row in table.rows]
