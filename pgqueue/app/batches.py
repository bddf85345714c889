"""The methods that make batches: ``app.batch`` and its async twin.

A batch is stored in several transactions if the caller gives no connection, because its jobs can be millions. So a crash of the program can
leave it open. It runs then, but does not end, until a person seals or cancels it: ``pgq batches list --state open`` lists such batches.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import ClassVar, Self

from pgqueue.app.batch_handle import BatchHandle
from pgqueue.app.handle import checked_id
from pgqueue.app.storing import JobStore
from pgqueue.database import statements
from pgqueue.database.flows import Flow, drive, drive_async
from pgqueue.database.joining import NOT_GIVEN, given, is_async, joined
from pgqueue.errors import WrongConnectionError
from pgqueue.model.members import follow_up
from pgqueue.model.new_job import NewJob
from pgqueue.model.options import RULES
from pgqueue.telemetry.tracing import carrier

FollowUps = dict[str, NewJob | None]


class BatchBuilder:
    """What ``OpenBatch`` and ``AsyncOpenBatch`` have in common."""

    is_async: ClassVar[bool]

    def __init__(
        self, store: JobStore, described: dict[str, object], using: object, follow_ups: FollowUps
    ) -> None:
        self._store, self._connection = store, given(using)
        self._stays_open = bool(described["open"])  # whether the end of the block leaves it unsealed
        if self._connection is not None and is_async(joined(self._connection)) is not self.is_async:
            wanted, method = ("an async", "app.batch") if self.is_async else ("a sync", "app.abatch")
            raise WrongConnectionError(
                f"app.{'a' if self.is_async else ''}batch() needs {wanted} connection.",
                do=f"for the connection that you gave, use {method}()",
            )
        traced = carrier()
        self._described = {
            **described, "open": True,
            **{name: follow_up(job, store.rules_of, traced) for name, job in follow_ups.items() if job is not None},
        }  # fmt: skip
        self._handle: BatchHandle | None = None
        self._is_sealed = False

    @property
    def handle(self) -> BatchHandle:
        """The handle of the batch. Raises RuntimeError before the batch is stored: the block, or the first ``add`` or ``seal``, stores it."""
        if self._handle is None:
            msg = "the batch is not stored yet: enter the block, or call add() or seal() first"
            raise RuntimeError(msg)
        return self._handle

    def _starting(self) -> Flow[BatchHandle]:
        number, created = yield statements.enqueue_batch(self._described)
        self._handle = BatchHandle(number, created, None, self._store)
        return self._handle

    @property
    def _takes_jobs(self) -> bool:
        """Whether the batch is to be filled here. False: there was a batch with its key, which is filled already or elsewhere."""
        return self._stays_open or self.handle.created

    def _ends_unsealed(self) -> bool:
        return self._takes_jobs and not self._stays_open and not self._is_sealed

    def _abandoning(self) -> Flow[None]:
        yield statements.abandon_batch(self.handle.id)

    def _using(self) -> object:
        return NOT_GIVEN if self._connection is None else self._connection

    def _still_open(self, error: BaseException) -> None:
        if self._connection is not None:
            return  # its transaction has failed, too, so nothing of it will be committed
        error.add_note(
            f"pgqueue could not cancel batch {self.handle.id}, which is still open: pgq batches cancel {self.handle.id}"
        )


class OpenBatch(BatchBuilder):
    """A batch that is being filled: ``with app.batch("import") as b: b.add(jobs)``. The end of the block seals it."""

    is_async = False

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not self._ends_unsealed():
            return
        if error is None:
            self.seal()
            return
        try:
            self._run(self._abandoning())
        except Exception:  # noqa: BLE001 - the error of the block is the one to be raised
            self._still_open(error)

    def add(self, jobs: Iterable[NewJob]) -> int:
        """Adds jobs, as ``BatchHandle.add`` does, and returns how many. If another batch had the key of this one, adds none."""
        self._start()
        return self.handle.add(jobs, using=self._using()) if self._takes_jobs else 0

    def seal(self) -> None:
        """Seals the batch, as ``BatchHandle.seal`` does. If another batch had the key of this one, does nothing."""
        self._start()
        if self._takes_jobs:
            self.handle.seal(self._using())
            self._is_sealed = True

    def _start(self) -> None:
        if self._handle is None:
            self._run(self._starting())

    def _run(self, flow: Flow[object]) -> None:
        if self._connection is None:
            self._store.ask(flow)
        else:
            drive(self._connection, flow)


class AsyncOpenBatch(BatchBuilder):
    """A batch that is being filled: ``async with app.abatch("import") as b: await b.add(jobs)``. The end of the block seals it."""

    is_async = True

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if not self._ends_unsealed():
            return
        if error is None:
            await self.seal()
            return
        try:
            await self._run(self._abandoning())
        except Exception:  # noqa: BLE001 - the error of the block is the one to be raised
            self._still_open(error)

    async def add(self, jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> int:
        """Adds jobs, as ``BatchHandle.aadd`` does, and returns how many. If another batch had the key of this one, adds none."""
        await self._start()
        return await self.handle.aadd(jobs, using=self._using()) if self._takes_jobs else 0

    async def seal(self) -> None:
        """Seals the batch, as ``BatchHandle.aseal`` does. If another batch had the key of this one, does nothing."""
        await self._start()
        if self._takes_jobs:
            await self.handle.aseal(self._using())
            self._is_sealed = True

    async def _start(self) -> None:
        if self._handle is None:
            await self._run(self._starting())

    async def _run(self, flow: Flow[object]) -> None:
        if self._connection is None:
            await self._store.aask(flow)
        else:
            await drive_async(self._connection, flow)


class Batches:
    """The base class of ``App`` that makes batches."""

    store: JobStore

    def batch(
        self,
        name: str,
        *,
        key: str | None = None,
        at_once: int | None = None,
        using: object = NOT_GIVEN,
        on_success: NewJob | None = None,
        on_failure: NewJob | None = None,
        on_end: NewJob | None = None,
        open: bool = False,  # noqa: A002 - the word of the SQL API
        meta: Mapping[str, object] | None = None,
    ) -> OpenBatch:
        """Opens a block in which a batch is filled: ``with app.batch("import", on_success=ok.job()) as b: b.add(row.job(n) for n in lines)``.

        The end of the block seals the batch. When all its jobs have ended, a job follows: ``on_success`` if all completed, otherwise
        ``on_failure``, and ``on_end`` in either case. ``at_once``: at most this many jobs of the batch run at the same time.

        With ``using``, which takes the same connections as ``task.using()``, the batch and all its jobs join that transaction. Without it,
        the batch is stored first, and then its jobs, in transactions of at most 10,000, and can run at once. If the block raises an error,
        the batch is cancelled.

        ``key``: only one batch of this name can have it. If it is taken, ``add`` and the end of the block do nothing, and
        ``b.handle.created`` is False. ``open``: the batch stays open after the block, also if the block raises an error. So it can do without
        a block: ``b = app.batch("crawl", open=True)``, ``b.add(jobs)``, ``b.seal()``. An open batch whose key is taken adds to the other one.
        ``meta``: any JSON object.

        Raises InvalidOptionError, InvalidArgumentsError and WrongConnectionError.
        """
        described = _described(name, key, at_once, open, meta)
        follow_ups: FollowUps = {"on_success": on_success, "on_failure": on_failure, "on_end": on_end}
        return OpenBatch(self.store, described, using, follow_ups)

    def abatch(
        self,
        name: str,
        *,
        key: str | None = None,
        at_once: int | None = None,
        using: object = NOT_GIVEN,
        on_success: NewJob | None = None,
        on_failure: NewJob | None = None,
        on_end: NewJob | None = None,
        open: bool = False,  # noqa: A002
        meta: Mapping[str, object] | None = None,
    ) -> AsyncOpenBatch:
        """``batch`` for async callers: ``async with app.abatch("import") as b: await b.add(jobs)``."""
        described = _described(name, key, at_once, open, meta)
        follow_ups: FollowUps = {"on_success": on_success, "on_failure": on_failure, "on_end": on_end}
        return AsyncOpenBatch(self.store, described, using, follow_ups)

    def batch_handle(self, batch_id: int) -> BatchHandle:
        """Returns a handle of a batch that was stored elsewhere. Raises InvalidOptionError if ``batch_id`` cannot be an id."""
        return BatchHandle(checked_id(batch_id, "a batch"), created=False, store=self.store)


def _described(
    name: str, key: str | None, at_once: int | None, is_open: bool, meta: Mapping[str, object] | None
) -> dict[str, object]:
    described: dict[str, object] = {"name": RULES["unique_key"]("the name of a batch", name), "open": is_open}
    if key is not None:
        described["key"] = RULES["unique_key"]("key", key)
    if at_once is not None:
        described["at_once"] = at_once
    if meta is not None:
        described["meta"] = RULES["meta"]("meta", meta)
    return described
