"""Storing jobs in a transaction: on which connection, in which way, and what their handles are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

from pgqueue.app import copy_lines
from pgqueue.app.handle import Connects, JobHandle
from pgqueue.database import statements
from pgqueue.database.joining import CallersConnection, can_copy, commits_by_itself, is_async, is_utf8, joined
from pgqueue.database.run import confirmed, copy, copy_async, run, run_async
from pgqueue.database.statements.enqueuing import Stored
from pgqueue.errors import DuplicateJobError, IdempotencyConflictError, WrongConnectionError
from pgqueue.model.job import Batch
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import JobsEnqueued
from pgqueue.telemetry.tracing import carrier, enqueue_span, is_traced

REFUSED = ("idempotency_mismatch", "duplicate")


def store(connection: CallersConnection, batches: list[Batch], app: Connects) -> list[JobHandle]:
    """Joins the caller's transaction; where his connection commits each statement, its end may stay unconfirmed."""
    connection = joined(connection)
    if is_async(connection):
        raise WrongConnectionError(
            "enqueue() was given an async connection.", do="use `await task.using(conn).aenqueue(…)`"
        )
    alone = commits_by_itself(connection)
    if not any(batch.args for batch in batches):
        return []
    with _span(batches), confirmed(connection) if alone else nullcontext():
        return _handles(batches, insert(connection, _traced(batches)), app)


async def store_async(connection: CallersConnection, batches: list[Batch], app: Connects) -> list[JobHandle]:
    """The same for async connections."""
    connection = joined(connection)
    if not is_async(connection):
        raise WrongConnectionError(
            "aenqueue() was given a sync connection.", do="use `task.using(conn).enqueue(…)`"
        )
    alone = commits_by_itself(connection)
    if not any(batch.args for batch in batches):
        return []
    with _span(batches), confirmed(connection) if alone else nullcontext():
        return _handles(batches, await insert_async(connection, _traced(batches)), app)


def insert(connection: CallersConnection, batches: list[Batch]) -> Iterable[Stored]:
    """Writes jobs in the caller's transaction, each in the cheapest way: alone, by COPY, or by the SQL API, which knows keys."""
    batches, plain = copy_lines.sendable(batches, utf8=is_utf8(connection))
    if plain and copy_lines.keyless(batches):
        count = sum(len(batch.args) for batch in batches)
        if count == 1:
            [(task, [args], options, _)] = batches
            return created([run(connection, statements.insert_job(task, args, options))])
        if count >= copy_lines.SMALLEST and can_copy(connection):
            ids, moment = run(connection, statements.reserve_ids(count))
            copy(connection, statements.copy_jobs(), copy_lines.rows(batches, ids, moment))
            run(connection, statements.wake(copy_lines.queues_to_wake(batches, moment)))
            return created(ids)
    elif (
        plain and copy_lines.is_unique(batches) and (job_id := run(connection, _unique(batches))) is not None
    ):
        return created([job_id])
    return run(connection, statements.enqueue_many(batches))


async def insert_async(connection: CallersConnection, batches: list[Batch]) -> Iterable[Stored]:
    """The same for async connections."""
    batches, plain = copy_lines.sendable(batches, utf8=is_utf8(connection))
    if plain and copy_lines.keyless(batches):
        count = sum(len(batch.args) for batch in batches)
        if count == 1:
            [(task, [args], options, _)] = batches
            return created([await run_async(connection, statements.insert_job(task, args, options))])
        if count >= copy_lines.SMALLEST and can_copy(connection):
            ids, moment = await run_async(connection, statements.reserve_ids(count))
            await copy_async(connection, statements.copy_jobs(), copy_lines.rows(batches, ids, moment))
            await run_async(connection, statements.wake(copy_lines.queues_to_wake(batches, moment)))
            return created(ids)
    elif (
        plain
        and copy_lines.is_unique(batches)
        and (job_id := await run_async(connection, _unique(batches))) is not None
    ):
        return created([job_id])
    return await run_async(connection, statements.enqueue_many(batches))


def _unique(batches: list[Batch]) -> Statement[int | None]:
    [(task, [args], options, names)] = batches
    return statements.insert_unique(
        task, args, options if names is None else {**options, "unique_key": names[0]}
    )


def created(ids: Sequence[int]) -> Iterator[Stored]:
    return (Stored(job_id, True, "pending", None) for job_id in ids)


def _handles(batches: list[Batch], rows: Iterable[Stored], app: Connects) -> list[JobHandle]:
    handles = [JobHandle(*row, app) for row in rows]
    for index, handle in enumerate(handles):
        if handle.conflict in REFUSED:
            task, key = list(chain.from_iterable(map(_named, batches)))[index]
            if handle.conflict == "duplicate":
                raise DuplicateJobError(task, handle.id, handle.state)
            raise IdempotencyConflictError(
                f"The idempotency key {key!r} of task {task} belongs to job {handle.id}, which was enqueued with"
                " other arguments.",
                job_id=handle.id,
                do="use another key for another request; nothing of this call was stored",
            )
    if has_subscribers(JobsEnqueued):
        _emit_enqueued(batches, handles)
    return handles


def _emit_enqueued(batches: list[Batch], handles: list[JobHandle]) -> None:
    tasks = (batch.task for batch in batches for _ in batch.args)
    new = Counter(task for task, handle in zip(tasks, handles, strict=True) if handle.created)
    for task, jobs in new.items():
        emit(JobsEnqueued(task, jobs))


def _named(batch: Batch) -> list[tuple[str, str | None]]:
    """The task and the idempotency key of each job."""
    keys = batch.options.get("idempotency_keys") or [batch.options.get("idempotency_key")] * len(batch.args)
    return [(batch.task, key) for key in keys]


def _span(batches: list[Batch]) -> AbstractContextManager[None]:
    if not is_traced():
        return nullcontext()
    return enqueue_span(batches[0].task, sum(len(batch.args) for batch in batches))


def _traced(batches: list[Batch]) -> list[Batch]:
    headers = carrier()
    if not headers:
        return batches
    return [batch._replace(options={**batch.options, "trace_context": headers}) for batch in batches]
