"""The statements of ``pgq adopt``, which moves waiting jobs between pgqueue and another queue system in the same database.

The text of a statement on a table of the other system is made here instead of being a file, because the name and the schema of that table
are known only when the command runs. The table's triggers and types belong to the other system and are found by its own search path, so
``use_their_path`` comes before such a statement, and ``use_pgqueue_path`` after it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from pgqueue.database.statements.decoding import array, column, each, nothing, raw, statement
from pgqueue.sql import Statement


class TheirTable(NamedTuple):
    """A table of another queue system: where it is, and the type of each of its columns."""

    schema: str
    name: str
    columns: dict[str, str]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class TheirJob(NamedTuple):
    """A waiting job of another system. ``args``: text of JSON; None: there are none, or they are ``payload``. ``priority``: larger first."""

    id: int
    task: str
    queue: str | None
    priority: int
    args: str | None
    payload: bytes | None
    run_at: datetime | None
    lock: str | None
    unique_key: str | None
    attempts: int
    headers: str | None


class AdoptedJob(NamedTuple):
    """A job that was adopted and has not started. ``adopted``: what its meta says: from, table, id, and what pgqueuer needs to get it back."""

    id: int
    task: str
    adopted: dict[str, Any]
    args: str
    run_at: datetime


@dataclass(frozen=True, slots=True)
class System:
    """Another queue system. ``columns`` are the columns that its table must have.

    ``waiting``: the condition of a waiting job. ``row``: the columns of a TheirJob, in order. ``remove`` takes jobs with the ids ``%(ids)s`` out
    of the system, and ``give_back`` brings the jobs ``%(jobs)s`` back; both return the ids for which they did so.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    task: str
    waiting: str
    row: str
    remove: str
    give_back: str


# A row that was moved stays, as cancelled: then its history is kept, and it can be brought back exactly as it was.
PROCRASTINATE = System(
    name="procrastinate",
    table="procrastinate_jobs",
    columns=("id", "queue_name", "task_name", "priority", "lock", "queueing_lock", "args", "status", "scheduled_at", "attempts"),
    task="task_name",
    waiting="t.status = 'todo'",
    row="t.id, t.task_name, t.queue_name, t.priority, t.args::text, null::bytea, t.scheduled_at, t.lock, t.queueing_lock, t.attempts, null::text",
    remove="update {jobs} t set status = 'cancelled' where t.id = any(%(ids)s::bigint[]) and t.status = 'todo' returning t.id",
    give_back="""
        update {jobs} t set status = 'todo' from json_to_recordset(%(jobs)s::text::json) as j (id bigint)
        where t.id = j.id and t.status = 'cancelled' returning t.id""",
)  # fmt: skip
# This table has only unfinished jobs. So a row that was moved is deleted, and a line of the log says it, as for each job that ends.
PGQUEUER = System(
    name="pgqueuer",
    table="pgqueuer",
    columns=("id", "priority", "queue_manager_id", "created", "updated", "execute_after", "status", "entrypoint", "dedupe_key", "payload", "headers", "attempts"),
    task="entrypoint",
    waiting="t.status = 'queued'",
    row="t.id, t.entrypoint, null::text, t.priority, null::text, t.payload, t.execute_after, null::text, t.dedupe_key, t.attempts, t.headers::text",
    remove="""
        with removed as (
            delete from {jobs} t where t.id = any(%(ids)s::bigint[]) and t.status = 'queued' returning t.id, t.entrypoint, t.priority
        ), noted as (
            insert into {log} (job_id, status, entrypoint, priority) select r.id, 'deleted', r.entrypoint, r.priority from removed r
        )
        select r.id from removed r""",
    give_back="""
        with given as (
            insert into {jobs} (id, priority, execute_after, status, entrypoint, dedupe_key, payload, headers, attempts)
            select j.id, j.priority, j.run_at, 'queued', j.task, j.unique_key, decode(j.payload, 'base64'), j.headers, j.attempts
            from json_to_recordset(%(jobs)s::text::json) as j (id bigint, priority integer, run_at timestamptz, task text, unique_key text,
                                                               payload text, headers jsonb, attempts integer)
            returning id, entrypoint, priority
        ), noted as (
            insert into {log} (job_id, status, entrypoint, priority) select g.id, 'queued', g.entrypoint, g.priority from given g
        )
        select g.id from given g""",
)  # fmt: skip
SYSTEMS = {system.name: system for system in (PROCRASTINATE, PGQUEUER)}

COUNT = "select t.{task}::text, count(*) from {jobs} t where {waiting} group by 1 order by 1"
# A worker of the other system locks the job that it takes, in the same way. So each job is taken by one of the two, and none waits.
TAKE = """
select {row} from {jobs} t
where {waiting} and t.id > %(after)s::bigint and (%(tasks)s::text[] is null or t.{task} = any(%(tasks)s::text[]))
order by t.id limit %(count)s::integer for update of t skip locked"""
LOCKS_IN_USE = (
    "select distinct t.lock from {jobs} t where t.status = 'doing' and t.lock = any(%(locks)s::text[])"
)


def _made(name: str, text: str, system: System, table: TheirTable) -> tuple[str, LiteralString]:
    places = {
        "jobs": f"{quoted(table.schema)}.{quoted(table.name)}", "log": f"{quoted(table.schema)}.{quoted(table.name + '_log')}",
        "task": system.task, "waiting": system.waiting, "row": system.row,
    }  # fmt: skip
    return name, text.format(**places)


def quoted(name: str) -> str:
    """Quotes an identifier for a statement with parameters."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def _table(schema: str, name: str, columns: str) -> TheirTable:
    return TheirTable(schema, name, json.loads(columns))


def _adopted(job_id: int, task: str, adopted: str, args: str, run_at: datetime) -> AdoptedJob:
    return AdoptedJob(job_id, task, json.loads(adopted), args, run_at)


def find_their_tables(name: str, schema: str | None = None) -> Statement[list[TheirTable]]:
    return statement("find_their_tables", each(_table), name=name, schema=schema)


def set_attempts(job_ids: Sequence[int], attempts: Sequence[int]) -> Statement[list[int]]:
    return statement("set_attempts", column, job_ids=array(job_ids), attempts=array(attempts))


def list_adopted(system: str, table: str, after: int, count: int) -> Statement[list[AdoptedJob]]:
    return statement("list_adopted", each(_adopted), system=system, table=table, after=after, count=count)


def use_their_path(table: TheirTable) -> Statement[None]:
    return _use_path(f"pg_catalog, {quoted(table.schema).replace('%%', '%')}, pg_temp")


def use_pgqueue_path() -> Statement[None]:
    return _use_path("pg_catalog, pg_temp")


def _use_path(path: str) -> Statement[None]:
    text: LiteralString = "select pg_catalog.set_config('search_path', %(path)s::text, true)"
    return Statement("use_path", text, {"path": path}, nothing)


def count_their_jobs(system: System, table: TheirTable) -> Statement[list[Any]]:
    """Returns the task and the number of its waiting jobs."""
    return Statement(*_made("count_their_jobs", COUNT, system, table), {}, raw)


def take_their_jobs(
    system: System, table: TheirTable, after: int, count: int, tasks: list[str] | None
) -> Statement[list[TheirJob]]:
    """Locks waiting jobs with an id larger than ``after``. Leaves out jobs that another transaction has locked."""
    values = {"after": after, "count": count, "tasks": tasks}
    return Statement(*_made("take_their_jobs", TAKE, system, table), values, each(TheirJob))


def locks_in_use(table: TheirTable, locks: list[str]) -> Statement[list[str]]:
    """Returns those locks of procrastinate that a running job has."""
    return Statement(*_made("locks_in_use", LOCKS_IN_USE, PROCRASTINATE, table), {"locks": locks}, column)


def remove_their_jobs(system: System, table: TheirTable, ids: Sequence[int]) -> Statement[list[int]]:
    return Statement(*_made("remove_their_jobs", system.remove, system, table), {"ids": array(ids)}, column)


def give_back(system: System, table: TheirTable, jobs: Sequence[dict[str, Any]]) -> Statement[list[int]]:
    return Statement(*_made("give_back", system.give_back, system, table), {"jobs": json.dumps(jobs)}, column)
