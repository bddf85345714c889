"""Moves waiting jobs of another queue system in the same database to pgqueue, and gives back those that have not started.

Each batch is one transaction: it locks the waiting jobs with SKIP LOCKED, as the workers of both systems do, stores them, and removes them from
the other system. So a job that a worker takes at the same moment is moved or run, and never both, and a kill undoes the whole batch.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import Connection, Rollback

from pgqueue.database import statements
from pgqueue.database.driver_errors import message
from pgqueue.database.run import run
from pgqueue.database.statements.adopting import AdoptedJob, System, TheirJob, TheirTable
from pgqueue.errors import InvalidOptionError, PgQueueError
from pgqueue.model.names import check_free, check_name
from pgqueue.model.new_job import Batch
from pgqueue.sql import Statement

T = TypeVar("T")

AT_ONCE = 500
LARGEST_PRIORITY = 32_767
NO_QUEUE = "default"
GONE = "its row in the other system is gone or was changed"
STARTED = "a worker of pgqueue has it"


class RefusedJobError(Exception):
    """This job stays where it is. The text is the reason."""


class Left(NamedTuple):
    """A job that was left where it is. ``id``: its id in the system in which it is."""

    id: int
    task: str
    reason: str


@dataclass(slots=True)
class Adopted:
    """What was done: the numbers of moved jobs by their task, and the jobs that were left. ``last``: the last id that was looked at."""

    moved: Counter[str] = field(default_factory=Counter)
    left: list[Left] = field(default_factory=list)
    last: int = 0

    def add(self, other: Adopted) -> None:
        self.moved.update(other.moved)
        self.left.extend(other.left)

    def reasons(self) -> Counter[str]:
        return Counter(one.reason for one in self.left)


class Item(NamedTuple):
    """A job of the other system, and the item of ``pgqueue.enqueue_many`` that stores it."""

    theirs: TheirJob
    batch: Batch


@dataclass(frozen=True, slots=True)
class Adoption:
    """What to move, and how. ``names``: the task of pgqueue for a task of the other system, if it differs. ``tasks``: only these; None: all.

    ``queue``: the queue for all jobs; None: the queue that they have. ``payload_as``: for a payload of pgqueuer that is no JSON object: the
    argument that gets its text. ``dry``: do everything, and take it back.
    """

    system: System
    table: TheirTable
    who: statements.Who
    names: Mapping[str, str] = field(default_factory=dict)
    tasks: Sequence[str] | None = None
    queue: str | None = None
    payload_as: str | None = None
    dry: bool = False

    def name(self, task: str) -> str:
        return self.names.get(task, task)

    def waiting(self, connection: Connection) -> dict[str, int]:
        """Returns the number of waiting jobs of each task that would be moved."""
        with connection.transaction():
            found = self._theirs(connection, statements.count_their_jobs(self.system, self.table))
        return {task: number for task, number in found if self.tasks is None or task in self.tasks}

    def move(self, connection: Connection, after: int = 0) -> Adopted | None:
        """Moves one batch, of jobs with an id larger than ``after``, in one transaction. Returns None if there are no such jobs."""
        done = Adopted()
        with connection.transaction():
            tasks = None if self.tasks is None else list(self.tasks)
            taking = statements.take_their_jobs(self.system, self.table, after, AT_ONCE, tasks)
            jobs = self._theirs(connection, taking)
            if not jobs:
                return None
            done.last = jobs[-1].id
            in_use = self._locks_in_use(connection, jobs)
            items: list[Item] = []
            # In this order procrastinate runs the jobs of a lock; the order of pgqueue is the order of ids.
            for job in sorted(jobs, key=lambda job: (-job.priority, job.id)):
                try:
                    items.append(self._item(job, in_use))
                except RefusedJobError as refused:
                    done.left.append(Left(job.id, job.task, str(refused)))
            _isolated(connection, items, lambda part: self._store(connection, part, done), done, _of_theirs)
            if self.dry:
                raise Rollback
        return done

    def give_back(self, connection: Connection, after: int = 0) -> Adopted | None:
        """Gives back one batch of adopted jobs that have not started, in one transaction. Returns None if there are no such jobs."""
        done = Adopted()
        with connection.transaction():
            listed = statements.list_adopted(self.system.name, str(self.table), after, AT_ONCE)
            jobs = run(connection, listed)
            if not jobs:
                return None
            done.last = jobs[-1].id
            _isolated(connection, jobs, lambda part: self._return(connection, part, done), done, _of_pgqueue)
            if self.dry:
                raise Rollback
        return done

    def _theirs(self, connection: Connection, statement: Statement[T]) -> T:
        run(connection, statements.use_their_path(self.table))
        found = run(connection, statement)
        run(connection, statements.use_pgqueue_path())
        return found

    def _locks_in_use(self, connection: Connection, jobs: Iterable[TheirJob]) -> set[str]:
        locks = sorted({job.lock for job in jobs if job.lock is not None})
        return set(run(connection, statements.locks_in_use(self.table, locks))) if locks else set()

    def _item(self, job: TheirJob, in_use: set[str]) -> Item:
        """Returns the job as an item. Raises RefusedJobError if pgqueue could not keep what the job promises."""
        if job.lock in in_use:
            raise RefusedJobError(
                "a running job of the other system has its lock; run the command again later"
            )
        try:
            task = check_free(self.name(job.task))
            queue = (
                None
                if self.queue is None and job.queue is None
                else check_name("queue", self.queue or job.queue)
            )
        except PgQueueError as error:
            raise RefusedJobError(error.what) from None
        args, form = self._args(job)
        adopted = {"from": self.system.name, "table": str(self.table), "id": job.id}
        if self.system.name == "pgqueuer":
            adopted |= {
                "task": job.task, "priority": job.priority, "unique_key": job.unique_key, "attempts": job.attempts, "payload": form,
                "headers": None if job.headers is None else json.loads(job.headers),
            }  # fmt: skip
        options = {
            "queue": queue,
            # In both systems the largest priority is the first, in pgqueue the smallest.
            "priority": min(max(-job.priority, -LARGEST_PRIORITY), LARGEST_PRIORITY),
            "run_at": None if job.run_at is None else job.run_at.isoformat(),
            "unique_key": job.unique_key,
            "concurrency_key": job.lock,
            "ordering": None if job.lock is None else "skip",
            "meta": {"adopted": adopted},
        }
        return Item(
            job, Batch(task, [args], {name: value for name, value in options.items() if value is not None})
        )

    def _args(self, job: TheirJob) -> tuple[str, str | None]:
        """Returns the arguments as text of JSON, and how the payload became them: None (it was null), "object", or ":" and an argument."""
        if self.system.name == "procrastinate":
            if not (job.args or "").lstrip().startswith("{"):
                raise RefusedJobError("its arguments are no JSON object")
            return str(job.args), None
        if job.payload is None:
            return "{}", None
        try:
            text = bytes(job.payload).decode()
        except UnicodeDecodeError:
            raise RefusedJobError("its payload is no text in UTF-8") from None
        try:
            is_object = isinstance(json.loads(text), dict)
        except (ValueError, RecursionError):
            is_object = False
        if is_object and self.payload_as is None:
            return text, "object"
        if self.payload_as is None:
            raise RefusedJobError(
                "its payload is no JSON object; --payload-as NAME passes its text as an argument"
            )
        return json.dumps({self.payload_as: text}), ":" + self.payload_as

    def _store(self, connection: Connection, items: Sequence[Item], done: Adopted) -> None:
        """Stores the jobs and removes them from the other system. Adds to ``done`` only at the end, because the caller may take it back."""
        stored = run(connection, statements.enqueue_many([item.batch for item in items], declared=False))
        created = [(item, one.id) for item, one in zip(items, stored, strict=True) if one.created]
        again = [(item, one.id) for item, one in zip(items, stored, strict=True) if not one.created]
        if created:
            ids = [job_id for _, job_id in created]
            tried = [
                (job_id, min(item.theirs.attempts, LARGEST_PRIORITY))
                for item, job_id in created
                if item.theirs.attempts > 0
            ]
            if tried:
                run(connection, statements.set_attempts(*zip(*tried, strict=True)))
            theirs = [item.theirs.id for item, _ in created]
            removed = self._theirs(connection, statements.remove_their_jobs(self.system, self.table, theirs))
            if len(removed) != len(theirs):
                raise RefusedJobError(GONE)
            run(connection, statements.note_import(ids, len(items), self.who))
        done.moved.update(item.theirs.task for item, _ in created)
        for item, job_id in again:
            reason = "an unfinished job of pgqueue has the same unique key"
            done.left.append(
                Left(
                    item.theirs.id,
                    item.theirs.task,
                    f"{reason}, such as job {job_id}" if self.dry else reason,
                )
            )

    def _return(self, connection: Connection, jobs: Sequence[AdoptedJob], done: Adopted) -> None:
        # undo_for: an undo of this delete would make the job exist twice.
        who = statements.Who(self.who.actor, self.who.source, undo_for=0.0)
        acted = run(connection, statements.act("delete", [job.id for job in jobs], who, states=["pending"]))
        deleted = {one.job_id for one in acted if one.result == "deleted"}
        back = [job for job in jobs if job.id in deleted]
        if back:
            given = statements.give_back(self.system, self.table, [_as_theirs(job) for job in back])
            if len(self._theirs(connection, given)) != len(back):
                raise RefusedJobError(GONE)
        done.moved.update(str(job.adopted.get("task", job.task)) for job in back)
        done.left.extend(Left(job.id, job.task, STARTED) for job in jobs if job.id not in deleted)


def _as_theirs(job: AdoptedJob) -> dict[str, Any]:
    """Returns the job as ``System.give_back`` needs it."""
    adopted = job.adopted
    form = adopted.get("payload")
    text = None if form is None else job.args if form == "object" else json.loads(job.args)[form[1:]]
    payload = None if text is None else base64.b64encode(text.encode()).decode()
    return {**adopted, "run_at": job.run_at.isoformat(), "payload": payload}


def _of_theirs(item: Item, reason: str) -> Left:
    return Left(item.theirs.id, item.theirs.task, reason)


def _of_pgqueue(job: AdoptedJob, reason: str) -> Left:
    return Left(job.id, job.task, reason)


def _isolated(
    connection: Connection,
    items: Sequence[T],
    act: Callable[[Sequence[T]], None],
    done: Adopted,
    left: Callable[[T, str], Left],
) -> None:
    """Calls ``act`` with all items. If that fails, takes it back and tries each half, until only the items that fail are left out."""
    if not items:
        return
    try:
        with connection.transaction():
            act(items)
    except (RefusedJobError, PgQueueError, psycopg.Error, ValueError, TypeError, LookupError) as error:
        if connection.closed or isinstance(error, psycopg.OperationalError):
            raise
        if len(items) == 1:
            done.left.append(left(items[0], _reason(error)))
            return
        middle = len(items) // 2
        for part in (items[:middle], items[middle:]):
            _isolated(connection, part, act, done, left)


def _reason(error: Exception) -> str:
    if isinstance(error, PgQueueError):
        return f"{error.what} {error.why}" if error.why else error.what
    return str(error) if isinstance(error, RefusedJobError) else message(error)


def find_table(connection: Connection, system: System, named: str | None) -> TheirTable:
    """Returns the table of the system. Raises InvalidOptionError if there is none, or several, or if it lacks a column that is needed."""
    schema, _, name = (named or system.table).rpartition(".")
    found = run(connection, statements.find_their_tables(name, schema or None))
    if not found:
        raise InvalidOptionError(
            f"This database has no table {named or system.table} of {system.name}.",
            do="name the database of that system with --dsn, or its table with --table SCHEMA.NAME",
        )
    if len(found) > 1:
        raise InvalidOptionError(
            f"This database has several tables {name}: {', '.join(map(str, found))}.",
            do=f"name one: --table {found[0]}",
        )
    missing = [one for one in system.columns if one not in found[0].columns]
    if missing:
        raise InvalidOptionError(
            f"The table {found[0]} is not that of a version of {system.name} that pgqueue knows.",
            why=f"it lacks {', '.join(missing)}",
            do=f"upgrade the schema of {system.name} (pgqueue knows procrastinate 3 and pgqueuer 1)",
        )
    return found[0]
