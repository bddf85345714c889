"""Replays the handler of a job, and checks that the replay changed no table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection, sql

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.replay.findings import Findings
from pgqueue.worker.replay.replay import Replay


def replayed(app: App, db: Connection[Any], job_id: int, **options: Any) -> Findings:
    job = run(db, statements.get_replayed(job_id))
    assert job is not None
    return Replay(app, job, run(db, statements.load_checkpoints([job_id]))[job_id], **options).run()


def everything(db: Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Returns all rows of all tables of the database, with the transaction that has written each of them."""
    tables = db.execute(
        "select schemaname, tablename from pg_tables where schemaname in ('pgqueue', 'public') order by 1, 2"
    ).fetchall()
    found = {}
    for name in tables:
        text = sql.SQL("select t.xmin::text, t.xmax::text, t::text from only {} t order by 3").format(
            sql.Identifier(*name)
        )
        found[".".join(name)] = db.execute(text).fetchall()
    return found


def written(findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows that the findings shows, by the names of their tables."""
    return {write.table: write.rows for session in findings.sessions for write in session.writes}


def of(app: App, db: Connection[Any], handler: Callable[..., Any], **options: Any) -> Findings:
    """Declares the handler as the task ``t``, enqueues a job, replays it, and checks that no table has changed."""
    app.task(name="t", retry=[0.0, 0.0])(handler)
    job_id = app.tasks["t"].enqueue().id
    before = everything(db)
    findings = replayed(app, db, job_id, **options)
    assert everything(db) == before
    return findings
