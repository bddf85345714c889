"""Adds jobs to a batch. The jobs can be a generator of millions: they are stored slice by slice.

On a connection of the caller, all slices join its transaction. Otherwise each slice is a transaction of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, Iterable
from contextlib import nullcontext

from pgqueue.app import copy_lines
from pgqueue.app.sending import queue_of, sending
from pgqueue.app.storing import JobStore, joining, resolve_copied
from pgqueue.database import statements
from pgqueue.database.flows import Copy, Flow, drive, drive_async
from pgqueue.database.joining import CallersConnection, can_copy, is_utf8
from pgqueue.database.statements.batches import OpenedParts
from pgqueue.database.statements.enqueuing import Reserved
from pgqueue.errors import CommitUnconfirmedError, InvalidArgumentsError, InvalidOptionError
from pgqueue.model.members import Members
from pgqueue.model.new_job import Batch, NewJob
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import JobsEnqueued
from pgqueue.text.values import with_article

SMALLEST_COPY = 20  # with this many jobs or more, COPY is cheaper than the SQL API
Jobs = Iterable[NewJob]


class Adder:
    """Adds jobs to the batch with the id ``batch``. ``member``: the id of the member that adds them, if it is one."""

    def __init__(self, store: JobStore, batch: int, member: int | None = None) -> None:
        self._store, self._batch, self._member = store, batch, member

    def add(self, jobs: Jobs, connection: CallersConnection | None) -> int:
        """Adds the jobs, and returns how many these are."""
        if not isinstance(jobs, Iterable):
            raise not_jobs(jobs)
        members, added = self._members(), 0
        for job in jobs:
            if (ready := members.take(job)) is not None:
                added += self._store_slice(ready, connection)
        return added + self._store_slice(members.rest(), connection)

    async def aadd(self, jobs: Jobs | AsyncIterable[NewJob], connection: CallersConnection | None) -> int:
        """``add`` for async callers. ``jobs`` can be an async iterable, too."""
        members, added = self._members(), 0
        if isinstance(jobs, AsyncIterable):
            async for job in jobs:
                if (ready := members.take(job)) is not None:
                    added += await self._astore_slice(ready, connection)
        elif isinstance(jobs, Iterable):
            for job in jobs:
                if (ready := members.take(job)) is not None:
                    added += await self._astore_slice(ready, connection)
        else:
            raise not_jobs(jobs)
        return added + await self._astore_slice(members.rest(), connection)

    def _members(self) -> Members:
        return Members(self._store.rules_of)

    def _store_slice(self, jobs: list[Batch], connection: CallersConnection | None) -> int:
        if not jobs:
            return 0
        if connection is not None:
            inner, committing = joining(connection, asynchronous=False)
            alone = not isinstance(committing, nullcontext)
            with sending(jobs) as sent, committing:
                drive(inner, self._adding(inner, sent.batches, [], alone=alone))
            return _noted(jobs)
        opened: list[OpenedParts] = []
        try:
            with self._store.own() as own, sending(jobs, self._store.dsn) as sent:
                drive(own, self._adding(own, sent.batches, opened))
        except CommitUnconfirmedError as error:
            resolve_copied(self._store.dsn(), _reserved(opened), error)
        return _noted(jobs)

    async def _astore_slice(self, jobs: list[Batch], connection: CallersConnection | None) -> int:
        if not jobs:
            return 0
        if connection is None and self._store.in_thread is not None:
            return await self._store.in_thread(self._store_slice, jobs, None)
        if connection is not None:
            inner, committing = joining(connection, asynchronous=True)
            alone = not isinstance(committing, nullcontext)
            with sending(jobs) as sent, committing:
                await drive_async(inner, self._adding(inner, sent.batches, [], alone=alone))
            return _noted(jobs)
        opened: list[OpenedParts] = []
        try:
            async with self._store.pools.aconnection(own=True) as own:
                with sending(jobs, self._store.dsn) as sent:
                    await drive_async(own, self._adding(own, sent.batches, opened))
        except CommitUnconfirmedError as error:
            await asyncio.to_thread(resolve_copied, self._store.dsn(), _reserved(opened), error)
        return _noted(jobs)

    def _adding(
        self,
        connection: CallersConnection,
        jobs: list[Batch],
        opened: list[OpenedParts],
        *,
        alone: bool = False,
    ) -> Flow[None]:
        """Adds a slice by COPY if that is cheaper. If it does, appends the ids and the transaction to ``opened``.

        ``alone``: each statement on the connection commits by itself. Then only one statement can add nodes together with their jobs.
        """
        jobs, plain = copy_lines.sendable(jobs, utf8=is_utf8(connection))
        count = sum(len(batch.args) for batch in jobs)
        is_copied = plain and not alone and can_copy(connection) and copy_lines.have_no_keys(jobs)
        if count < SMALLEST_COPY or not is_copied:
            yield statements.add_to_batch(self._batch, jobs, self._member)
            return
        parts: OpenedParts = yield statements.open_parts(self._batch, count, self._member)
        opened.append(parts)
        if parts.key is not None:
            jobs = [_with_key(batch, parts.key) for batch in jobs]
        rows = copy_lines.rows(jobs, parts.ids, parts.moment, self._batch)
        yield Copy(statements.copy_nodes(), rows)
        yield statements.wake(copy_lines.queues_to_wake(jobs, parts.moment))


def not_jobs(given: object) -> InvalidArgumentsError:
    return InvalidArgumentsError(
        f"The batch was given {with_article(given)} instead of jobs.",
        do="give a list or a generator of jobs: b.add(task.job(n) for n in range(9))",
    )


def _with_key(batch: Batch, key: str) -> Batch:
    if batch.options.get("concurrency_key") is not None:
        raise InvalidOptionError(
            "A job with a concurrency_key is added to a batch with at_once.",
            why="with at_once, the jobs of the batch have a concurrency_key already",
            do="leave out one of the two",
        )
    return batch._replace(options={**batch.options, "concurrency_key": key})


def _reserved(opened: list[OpenedParts]) -> list[Reserved]:
    return [Reserved(parts.ids, parts.moment, parts.xid) for parts in opened]


def _noted(jobs: list[Batch]) -> int:
    """Emits that the jobs are stored, and returns how many these are."""
    if has_subscribers(JobsEnqueued):
        counts: Counter[tuple[str, str]] = Counter()
        for batch in jobs:
            counts[batch.task, queue_of(batch)] += len(batch.args)
        for (task, queue), count in counts.items():
            emit(JobsEnqueued(task, count, queue))
    return sum(len(batch.args) for batch in jobs)
