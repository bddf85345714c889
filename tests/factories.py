"""Stores and reads rows for tests. Also makes attempts for tests without a database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.attempt import Attempt


def add_jobs(
    db: Connection[Any], key: str | None = None, task: str = "t", count: int = 1, **columns: Any
) -> list[int]:
    """Inserts jobs with a plain INSERT, and returns their ids. ``key`` is their concurrency key."""
    given = {"task": task, "concurrency_key": key, **columns}
    values = ", ".join(f"%({name})s" for name in given)
    text = f"insert into pgqueue.jobs ({', '.join(given)}) select {values} from generate_series(1, %(count)s) returning id"
    return [job_id for (job_id,) in db.execute(text.encode(), {**given, "count": count})]


def add_limit(db: Connection[Any], **columns: Any) -> int:
    """Inserts a row of ``pgqueue.limits``, and returns its id."""
    values = ", ".join(f"%({name})s" for name in columns)
    text = f"insert into pgqueue.limits ({', '.join(columns)}) values ({values}) returning id"
    [(limit_id,)] = db.execute(text.encode(), columns)
    return int(limit_id)


def enqueue(db: Connection[Any], task: str = "t", args: Any = None, **options: Any) -> int:
    """Calls ``pgqueue.enqueue``, and returns the id of the new job, or of the job that already has its key."""
    return enqueue_row(db, task, args, **options)[0]


def enqueue_row(
    db: Connection[Any], task: str = "t", args: Any = None, **options: Any
) -> tuple[int, bool, str | None, str | None]:
    """Calls ``pgqueue.enqueue``, and returns its row: (id, created, state, conflict)."""
    [stored] = db.execute(
        "select id, created, state, conflict from pgqueue.enqueue(%s, %s, %s)",
        [task, Jsonb(args or {}), Jsonb(options)],
    )
    return stored


def row(db: Connection[Any], job_id: int, columns: str = "state") -> tuple[Any, ...]:
    """Returns these columns of a job's row. Fails if the job does not have exactly one row."""
    found = db.execute(f"select {columns} from pgqueue.jobs where id = %s".encode(), [job_id]).fetchall()
    assert len(found) == 1, f"{len(found)} rows of job {job_id}"
    return found[0]


def look(db: Connection[Any], job_id: int, columns: str = "state") -> Any:
    """Returns these columns of a job's row. If ``columns`` names only one column, returns its value and not a tuple."""
    found = row(db, job_id, columns)
    return found[0] if len(found) == 1 else found


def reasons(db: Connection[Any], job_id: int) -> list[tuple[str, str, str]]:
    """Returns the transitions of a job, each as (former state, new state, reason)."""
    return [(t.from_state, t.to_state, t.reason) for t in run(db, statements.list_transitions(job_id))]


def count(db: Connection[Any], table: str = "jobs") -> int:
    [(rows,)] = db.execute(f"select count(*) from pgqueue.{table}".encode())
    return int(rows)


def let_time_pass(db: Connection[Any], seconds: float) -> None:
    """Moves the times of unfinished jobs and of idempotency keys back by ``seconds``, as if so much time had passed."""
    span = timedelta(seconds=seconds)
    db.execute(
        "update pgqueue.jobs_live set run_at = run_at - %s, created_at = created_at - %s, expires_at = expires_at - %s",
        [span, span, span],
    )
    db.execute(
        "update pgqueue.idempotency_keys set created_at = created_at - %s, expires_at = expires_at - %s",
        [span, span],
    )


def attempt(
    job_id: int = 1,
    task: str = "t",
    args: str = "{}",
    *,
    timeout: float | None = None,
    max_attempts: int = 6,
    crash_count: int = 0,
    rare: str | None = None,
) -> Attempt:
    """Returns the first attempt of a job, as a claim returns it.

    ``rare`` is the JSON text of the fields that only few jobs have (class ``RareFields``).
    """
    row = (
        job_id,
        1,
        "default",
        0,
        task,
        args,
        1,
        max_attempts,
        crash_count,
        timeout,
        0.0,
        0.0,
        None,
        rare,
        None,
    )
    return Attempt(1, row)


# Ends the session of an action as soon as one of its slices is done and the next one is noted.
ENDS_ITS_SESSION = """
    create function public.end_session() returns trigger language plpgsql as $$
        begin
            if new.changed > 0 and exists (select from pgqueue.audit where changed > 0) then
                perform pg_terminate_backend(pg_backend_pid());
            end if;
            return new;
        end $$;
    create trigger ends before insert on pgqueue.audit for each row execute function public.end_session()
"""
