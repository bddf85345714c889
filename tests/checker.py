"""The checker: invariants in SQL (checker.sql) that must hold after every crash and race. Process tests check them when they end.

``install`` creates the schema ``chk``, which only tests have, beside the schema of pgqueue. In this schema, triggers record every change
of a job and of a node of a workflow. A client writes a row of ``chk.business`` in the transaction that enqueues a job. The handler writes a row of ``chk.effects`` in
the job's own transaction. This table has no unique key on purpose, so that it can contain two effects of one job. For the same reason, ``chk.step_rows`` has none: functions of steps write into it. ``Intents`` contain the
requests of clients and the answers that the clients got. The intents are kept in a file, because a crash of the database can lose data, and
are copied into the database before the check.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import Connection

INVARIANTS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")

SCHEMA = """
create schema chk;
create table chk.intents (op bigint not null, outcome text not null);
create table chk.business (op bigint not null);
create table chk.effects (
    op bigint not null, job_id bigint not null, lease_id bigint not null,
    at timestamptz not null default clock_timestamp(), xact xid8 not null default pg_current_xact_id());
create table chk.runs (
    op bigint not null, job_id bigint not null, lease_id bigint not null, pid integer not null,
    at timestamptz not null default clock_timestamp());
create table chk.ends (op bigint not null, pid integer not null);
create sequence chk.seq;
create table chk.events (
    seq bigint primary key default nextval('chk.seq'),
    at timestamptz not null default clock_timestamp(), xact xid8 not null default pg_current_xact_id(),
    job_id bigint not null, old_state text, new_state text, lease_id bigint not null, worker_id bigint,
    attempt integer not null, run_at timestamptz not null);
create index on chk.events (job_id, seq);
create table chk.rescues (
    job_id bigint not null, lease_id bigint not null, worker_id bigint not null,
    at timestamptz not null, expires_at timestamptz);
create table chk.node_events (
    seq bigint primary key default nextval('chk.seq'), node_id bigint not null, old_state text, new_state text,
    unmet integer not null, failed integer not null, needs text not null, is_gate boolean not null);
create index on chk.node_events (node_id, seq);
create table chk.left_nodes (id bigint not null, at timestamptz not null default clock_timestamp());
create table chk.step_rows (job_id bigint not null, name text not null);

create function chk.note_job() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into chk.events (job_id, old_state, lease_id, worker_id, attempt, run_at)
        values (old.id, old.state, old.lease_id, old.worker_id, old.attempt, old.run_at);
    elsif tg_op = 'INSERT' then
        insert into chk.events (job_id, new_state, lease_id, worker_id, attempt, run_at)
        values (new.id, new.state, new.lease_id, new.worker_id, new.attempt, new.run_at);
    elsif (old.state, old.lease_id) is distinct from (new.state, new.lease_id) then
        insert into chk.events (job_id, old_state, new_state, lease_id, worker_id, attempt, run_at)
        values (new.id, old.state, new.state, new.lease_id, new.worker_id, new.attempt, new.run_at);
    end if;
    return null;
end $$;
create trigger chk_note_job after insert or update or delete on pgqueue.jobs
    for each row execute function chk.note_job();

create function chk.note_node() returns trigger language plpgsql as $$
begin
    insert into chk.node_events (node_id, old_state, new_state, unmet, failed, needs, is_gate)
    values (new.id, case when tg_op = 'UPDATE' then old.state end, new.state, new.unmet, new.failed, new.needs, new.is_gate);
    return null;
end $$;
create trigger chk_note_node after insert or update on pgqueue.nodes
    for each row execute function chk.note_node();

create function chk.note_left_node() returns trigger language plpgsql as $$
begin
    insert into chk.left_nodes (id) values (new.id);
    return null;
end $$;
create trigger chk_note_left_node after insert on pgqueue.unresolved
    for each row execute function chk.note_left_node();

create function chk.note_rescue() returns trigger language plpgsql as $$
begin
    insert into chk.rescues (job_id, lease_id, worker_id, at, expires_at)
    select new.job_id, new.lease_id, new.worker_id, clock_timestamp(), w.expires_at
    from pgqueue.workers w where w.id = new.worker_id;
    return null;
end $$;
create trigger chk_note_rescue after insert on pgqueue.transitions
    for each row when (new.error like 'worker % died or lost its lease%') execute function chk.note_rescue();
"""


# This query returns all records about one job, the oldest first: changes that the trigger has recorded, effects of handlers, and rows of
# `transitions`.
HISTORY = """
select h.at, h.told from (
    select e.seq, e.at, format('%%s -> %%s, lease %%s of worker %%s, attempt %%s, due %%s, transaction %%s',
        coalesce(e.old_state, 'none'), coalesce(e.new_state, 'none'), e.lease_id, e.worker_id, e.attempt, e.run_at, e.xact) as told
    from chk.events e where e.job_id = %(job)s
    union all
    select 0, e.at, format('effect of op %%s, lease %%s, transaction %%s', e.op, e.lease_id, e.xact)
    from chk.effects e where e.job_id = %(job)s
    union all
    select 0, t.at, format('row of transitions: %%s -> %%s, %%s, lease %%s of worker %%s, attempt %%s: %%s',
        t.from_state, t.to_state, t.reason, t.lease_id, t.worker_id, t.attempt, t.error)
    from pgqueue.transitions t where t.job_id = %(job)s) h
order by h.at, h.seq
"""


def install(dsn: str) -> None:
    """Creates the schema ``chk``, whose trigger begins to record.

    Makes the partitions of the next days first, because the trigger does not record that rows are moved into a new partition.
    """
    with psycopg.connect(dsn) as connection:
        connection.execute("select pgqueue.add_partitions(3)")
        connection.execute(SCHEMA.encode())


def violations(dsn: str) -> dict[str, int]:
    """Returns the broken invariants, each with the number of rows that break it."""
    with psycopg.connect(dsn) as connection:
        return {invariant: n for invariant, n, _ in _broken(connection)}


def _broken(connection: Connection[Any]) -> list[tuple[str, int, list[int] | None]]:
    rows = connection.execute(INVARIANTS.encode()).fetchall()
    return [(invariant, n, jobs) for invariant, n, jobs in rows if n]


def check(dsn: str) -> None:
    """Raises AssertionError if invariants are broken. The message contains their names, and the history of some jobs that break them."""
    with psycopg.connect(dsn) as connection:
        broken = _broken(connection)
        assert not broken, "\n".join(
            [
                "the checker found " + "; ".join(f"{invariant}: {n}" for invariant, n, _ in broken),
                *(
                    history(connection, job)
                    for job in sorted({job for _, _, jobs in broken for job in jobs or ()})
                ),
            ]
        )


def history(connection: Connection[Any], job_id: int) -> str:
    """Returns text: the row of a job, and one line for each record about this job."""
    rows = connection.execute("select to_jsonb(j) from pgqueue.jobs j where j.id = %s", [job_id]).fetchall()
    events = connection.execute(HISTORY.encode(), {"job": job_id}).fetchall()
    return "\n".join(
        [f"job {job_id}", *(f"    {row}" for (row,) in rows), *(f"    {at} {told}" for at, told in events)]
    )


class Intents:
    """The requests of a client and their outcomes, as JSON lines. Each line is on disk before the client goes on.

    The outcomes are ``ack`` (the commit was acknowledged), ``rollback`` (never committed) and ``unknown`` (the connection broke).
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8")
        self.path = file

    def note(self, ops: list[int], outcome: str) -> None:
        for op in ops:
            self._file.write(json.dumps({"op": op, "outcome": outcome}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def load(self, dsn: str) -> None:
        """Copies the intents into chk.intents, each with the last outcome that the client noted."""
        lines = (json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines())
        outcomes = {line["op"]: line["outcome"] for line in lines}
        with (
            psycopg.connect(dsn) as connection,
            connection.cursor() as cursor,
            cursor.copy("copy chk.intents (op, outcome) from stdin") as copy,
        ):
            for row in outcomes.items():
                copy.write_row(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
