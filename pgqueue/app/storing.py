"""Stores jobs. Chooses the connection and the way of storing. Most enqueues on the app's own connections need only one round trip."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from operator import attrgetter
from typing import TypeVar

from pgqueue.app import copy_lines
from pgqueue.app.sending import queue_of, sending
from pgqueue.app.waiters import Waiters
from pgqueue.database import in_doubt, statements
from pgqueue.database.confirming import confirmed
from pgqueue.database.flows import Copy, Flow, drive, drive_async
from pgqueue.database.joining import CallersConnection, can_copy, commits_by_itself, is_async, is_utf8, joined
from pgqueue.database.pools import Pools
from pgqueue.database.run import run
from pgqueue.database.statements.enqueuing import Reserved, Stored
from pgqueue.database.statements.workflows import StoredWorkflow
from pgqueue.errors import (
    CommitUnconfirmedError,
    DuplicateJobError,
    IdempotencyConflictError,
    WrongConnectionError,
)
from pgqueue.model.graph_text import Built, in_ascii
from pgqueue.model.new_job import Batch
from pgqueue.model.task import TaskSpec
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import JobsEnqueued

T = TypeVar("T")

REFUSED = ("idempotency_mismatch", "duplicate")


class JobStore:
    """Stores an app's jobs, reads them and waits for them, on the app's own connections or on a connection of the caller.

    ``app``: the app of this store. The store, the tasks and the handles are pickled by the app's name. ``specs``: the app's tasks, by name.
    """

    def __init__(self, app: object, dsn: Callable[[], str], pool_size: int | None) -> None:
        self.app = app
        self.specs: dict[str, TaskSpec] = {}
        self.dsn = dsn
        self.pools = Pools(dsn, pool_size)
        self.waiters = Waiters(dsn)

    def __reduce__(self) -> tuple[object, ...]:
        return attrgetter("store"), (self.app,)

    def insert(self, batches: list[Batch], connection: CallersConnection = None) -> list[Stored]:
        """Stores jobs in the transaction of ``connection`` or, without ``connection``, in a new transaction."""
        stored: list[Stored] = []
        if connection is not None:
            connection, committing = joining(connection, asynchronous=False)
            if any(batch.args for batch in batches):
                with sending(batches) as sent, committing:
                    stored = accepted(batches, drive(connection, insertion(connection, sent.batches)))
                    sent.note([row.id for row in stored])
        elif any(batch.args for batch in batches):
            copied: list[Reserved] = []
            try:
                with (
                    self.pools.connection(autocommit=not is_copied(batches), own=True) as own,
                    sending(batches, self.dsn) as sent,
                ):
                    stored = accepted(batches, drive(own, insertion(own, sent.batches, copied)))
                    sent.note([row.id for row in stored])
            except CommitUnconfirmedError as error:
                resolve_copied(self.dsn(), copied, error)
        return stored

    async def ainsert(self, batches: list[Batch], connection: CallersConnection = None) -> list[Stored]:
        """``insert`` for async callers."""
        stored: list[Stored] = []
        if connection is not None:
            connection, committing = joining(connection, asynchronous=True)
            if any(batch.args for batch in batches):
                with sending(batches) as sent, committing:
                    stored = accepted(
                        batches, await drive_async(connection, insertion(connection, sent.batches))
                    )
                    sent.note([row.id for row in stored])
        elif any(batch.args for batch in batches):
            copied: list[Reserved] = []
            try:
                async with self.pools.aconnection(autocommit=not is_copied(batches), own=True) as own:
                    with sending(batches, self.dsn) as sent:
                        stored = accepted(
                            batches, await drive_async(own, insertion(own, sent.batches, copied))
                        )
                        sent.note([row.id for row in stored])
            except CommitUnconfirmedError as error:
                await asyncio.to_thread(resolve_copied, self.dsn(), copied, error)
        return stored

    def insert_workflow(self, built: Built, connection: CallersConnection = None) -> StoredWorkflow:
        """Stores a workflow in the transaction of ``connection`` or, without ``connection``, in a new transaction."""
        sent: list[StoredWorkflow] = []
        if connection is not None:
            connection, committing = joining(connection, asynchronous=False)
            with committing:
                return _noted(built, drive(connection, storing(connection, built, sent)))
        try:
            with self.pools.connection(own=True) as own:
                drive(own, storing(own, built, sent))
        except CommitUnconfirmedError as error:
            _resolve_workflow(self.dsn(), sent, error)
        return _noted(built, sent[0])

    async def ainsert_workflow(self, built: Built, connection: CallersConnection = None) -> StoredWorkflow:
        """``insert_workflow`` for async callers."""
        sent: list[StoredWorkflow] = []
        if connection is not None:
            connection, committing = joining(connection, asynchronous=True)
            with committing:
                return _noted(built, await drive_async(connection, storing(connection, built, sent)))
        try:
            async with self.pools.aconnection(own=True) as own:
                await drive_async(own, storing(own, built, sent))
        except CommitUnconfirmedError as error:
            await asyncio.to_thread(_resolve_workflow, self.dsn(), sent, error)
        return _noted(built, sent[0])

    def rules_of(self, task: str) -> Mapping[str, object]:
        """Returns the options about duplicates that the task declares; none if the app does not know the task."""
        return self.specs[task].rules if task in self.specs else {}

    def ask(self, flow: Flow[T]) -> T:
        """Runs a flow in a new transaction."""
        with self.pools.connection(own=True) as own:
            return drive(own, flow)

    async def aask(self, flow: Flow[T]) -> T:
        """``ask`` for async callers."""
        async with self.pools.aconnection(own=True) as own:
            return await drive_async(own, flow)

    def close(self) -> None:
        """Closes the connections. A later call opens new ones."""
        self.waiters.close()
        self.pools.close()

    async def aclose(self) -> None:
        """``close`` for async callers; closes the running loop's connections, too."""
        await asyncio.to_thread(self.waiters.close)
        await self.pools.aclose()


# ------------------------------------------------------------------ the connection


def joining(
    connection: CallersConnection, *, asynchronous: bool
) -> tuple[CallersConnection, AbstractContextManager[None]]:
    """Returns (the connection for the statements, a context to put around them).

    If each statement commits by itself, it can happen that a commit gets no answer. Then the context raises CommitUnconfirmedError.
    """
    inner = joined(connection)
    if is_async(inner) is not asynchronous:
        given, do = (
            ("aenqueue() was given a sync connection.", "use `task.using(conn).enqueue(…)`")
            if asynchronous
            else ("enqueue() was given an async connection.", "use `await task.using(conn).aenqueue(…)`")
        )
        raise WrongConnectionError(given, do=do)
    return inner, confirmed(inner) if commits_by_itself(inner) else nullcontext()


def resolve_copied(dsn: str, copied: list[Reserved], error: CommitUnconfirmedError) -> None:
    """Finds out whether an enqueue whose COMMIT got no answer was committed. Returns if it was committed; otherwise raises an error.

    If COPY has stored the jobs, their ids and the transaction are known, so the database knows the answer. If one statement has stored
    the jobs, only the lost answer contained their ids. Then only an enqueue with an idempotency key can be repeated without harm.
    """
    if copied:
        [reserved] = copied
        answer = in_doubt.ask(dsn, lambda connection: run(connection, statements.find_copied(reserved)))
        if answer is True:
            return
        if answer is False and error.__cause__ is not None:
            raise error.__cause__
        error.job_ids = list(reserved.ids)
    raise error


def _resolve_workflow(dsn: str, sent: list[StoredWorkflow], error: CommitUnconfirmedError) -> None:
    """Finds out whether a workflow whose COMMIT got no answer was stored. Returns if it was; otherwise raises an error."""
    if not sent:
        raise error
    [stored] = sent
    if not stored.created:
        return
    answer = in_doubt.ask(dsn, lambda connection: run(connection, statements.find_stored_workflow(stored)))
    if answer is True:
        return
    if answer is False and error.__cause__ is not None:
        raise error.__cause__
    error.job_ids = stored.node_ids
    raise error


# ------------------------------------------------------------------ the way of storing


def is_copied(batches: list[Batch]) -> bool:
    """Returns whether COPY is cheaper for these jobs.

    COPY needs a transaction around its statements. Every other way needs none, because a single statement stores all jobs, and no statement
    follows it.
    """
    return sum(len(batch.args) for batch in batches) >= copy_lines.SMALLEST_COPY and copy_lines.have_no_keys(
        batches
    )


def insertion(
    connection: CallersConnection, batches: list[Batch], copied: list[Reserved] | None = None
) -> Flow[Iterable[Stored]]:
    """Writes jobs in the cheapest way: one job by an insert, many jobs by COPY. The SQL API, which handles all keys, writes the others.

    If it writes by COPY, it appends the ids and the transaction to ``copied``.
    """
    batches, plain = copy_lines.sendable(batches, utf8=is_utf8(connection))
    if plain and len(batches) == len(batches[0].args) == 1:
        if copy_lines.have_no_keys(batches):
            [(task, [args], options, _)] = batches
            return _created([(yield statements.insert_job(task, args, options))])
        if copy_lines.have_a_unique_key(batches) and (job_id := (yield _unique(batches))) is not None:
            return _created([job_id])
    elif plain and is_copied(batches) and can_copy(connection):
        return (yield from _copying(batches, [] if copied is None else copied))
    rows: list[Stored] = yield statements.enqueue_many(batches)
    return rows


def storing(connection: CallersConnection, built: Built, sent: list[StoredWorkflow]) -> Flow[StoredWorkflow]:
    """Stores a workflow, and appends what was stored to ``sent``, so that it is known even if the COMMIT gets no answer."""
    text = built.text if is_utf8(connection) else in_ascii(built.text)
    sent.append((yield statements.enqueue_workflow(text)))
    return sent[0]


def _copying(batches: list[Batch], copied: list[Reserved]) -> Flow[Iterable[Stored]]:
    reserved: Reserved = yield statements.reserve_ids(sum(len(batch.args) for batch in batches))
    copied.append(reserved)
    yield Copy(statements.copy_jobs(), copy_lines.rows(batches, reserved.ids, reserved.moment))
    yield statements.wake(copy_lines.queues_to_wake(batches, reserved.moment))
    return _created(reserved.ids)


def _unique(batches: list[Batch]) -> Statement[int | None]:
    [(task, [args], options, names)] = batches
    return statements.insert_unique(
        task, args, options if names is None else {**options, "unique_key": names[0]}
    )


def _created(ids: Sequence[int]) -> Iterator[Stored]:
    return (Stored(job_id, True, "pending", None) for job_id in ids)


# ------------------------------------------------------------------ the answer


def accepted(batches: list[Batch], rows: Iterable[Stored]) -> list[Stored]:
    """Returns the rows. For the first row that was refused, raises DuplicateJobError or IdempotencyConflictError."""
    stored = list(rows)
    for index, row in enumerate(stored):
        if row.conflict in REFUSED:
            task, key = list(chain.from_iterable(map(_named, batches)))[index]
            if row.conflict == "duplicate":
                raise DuplicateJobError(task, row.id, row.state)
            raise IdempotencyConflictError(
                f"The idempotency key {key!r} of task {task} belongs to job {row.id}, which was enqueued with"
                " other arguments.",
                job_id=row.id,
                do="use another key for another request; nothing of this call was stored",
            )
    if has_subscribers(JobsEnqueued):
        _emit_enqueued(batches, stored)
    return stored


def _noted(built: Built, stored: StoredWorkflow) -> StoredWorkflow:
    if stored.created and has_subscribers(JobsEnqueued):
        for task, jobs in Counter(task for task in built.tasks if task is not None).items():
            emit(JobsEnqueued(task, jobs, ""))
    return stored


def _emit_enqueued(batches: list[Batch], stored: list[Stored]) -> None:
    sent = ((batch.task, queue_of(batch)) for batch in batches for _ in batch.args)
    new = Counter(names for names, row in zip(sent, stored, strict=True) if row.created)
    for (task, queue), jobs in new.items():
        emit(JobsEnqueued(task, jobs, queue))


def _named(batch: Batch) -> list[tuple[str, str | None]]:
    """Returns (task, idempotency key) of each job."""
    keys = batch.options.get("idempotency_keys") or [batch.options.get("idempotency_key")] * len(batch.args)
    return [(batch.task, key) for key in keys]
