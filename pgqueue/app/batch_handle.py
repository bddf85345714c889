"""``BatchHandle``: reads a stored batch, adds jobs to it, seals, cancels and retries it, and waits for its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field

from pgqueue.app.adding import Adder
from pgqueue.app.handle import Asks, limit_of, reading
from pgqueue.app.patience import Patience
from pgqueue.app.storing import JobStore
from pgqueue.database import statements
from pgqueue.database.flows import Flow
from pgqueue.database.joining import NOT_GIVEN, given
from pgqueue.database.statements.batches import RETRIED_AT_ONCE, BatchProgress, Retried
from pgqueue.errors import BatchNotFoundError
from pgqueue.model.new_job import NewJob
from pgqueue.model.options import Duration


@dataclass(slots=True, unsafe_hash=True)
class BatchHandle(Asks):
    """A batch's id, and whether this call stored the batch.

    If ``created`` is False, another batch had the name and the key, and ``id`` is the id of that one. ``member``: the id of
    the job whose ``job.batch`` returned this handle. Such a job can add jobs after the batch was sealed. None: the handle was made elsewhere.
    """

    id: int
    created: bool = True
    member: int | None = field(default=None, repr=False, compare=False)
    store: JobStore | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return BatchHandle, (self.id, self.created, self.member, self._pickled_store())

    # ---------------------------------------------------------------- reading

    def progress(self) -> BatchProgress:
        """Reads how the batch goes: its state, and how many of its jobs have ended. Takes milliseconds, also if they are a million.

        Raises BatchNotFoundError.
        """
        with reading():
            return self._store().ask(self._progress())

    async def aprogress(self) -> BatchProgress:
        """``progress`` for async callers."""
        with reading():
            return await self._store().aask(self._progress())

    def _progress(self) -> Flow[BatchProgress]:
        found: BatchProgress | None = yield statements.get_batch(self.id)
        if found is None:
            raise self._missing()
        return found

    def _missing(self) -> BatchNotFoundError:
        if self.member is None:
            return BatchNotFoundError(self.id)
        why = f"it is a node of workflow {self.id}"
        return BatchNotFoundError(
            f"Job {self.member} belongs to no batch.", why=why, do="add it to one: app.batch(…)"
        )

    def state(self) -> str:
        """Reads whether the batch is ``open``, ``running``, ``stopping``, ``completed``, ``failed`` or ``cancelled``. Raises BatchNotFoundError."""
        return self.progress().state

    async def astate(self) -> str:
        """``state`` for async callers."""
        return (await self.aprogress()).state

    # ---------------------------------------------------------------- adding

    def add(self, jobs: Iterable[NewJob], *, using: object = NOT_GIVEN) -> int:
        """Adds jobs that ``task.job(…)`` has made, and returns how many: ``handle.add(resize.job(n) for n in range(1_000_000))``.

        A generator is read slice by slice, so memory stays small. With ``using``, which takes the same connections as ``task.using()``, all
        jobs join its transaction. Without it, each slice of at most 10,000 jobs is a transaction of its own: if the generator raises an error
        in the middle, the slices before it are stored.

        Raises BatchClosedError if the batch is sealed, was cancelled or has ended; the COMMIT can raise it, too. Raises BatchNotFoundError,
        InvalidArgumentsError or InvalidOptionError.
        """
        return self._adder().add(jobs, given(using))

    async def aadd(self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, using: object = NOT_GIVEN) -> int:
        """``add`` for async callers. ``jobs`` can be an async iterable, too."""
        return await self._adder().aadd(jobs, given(using))

    def _adder(self) -> Adder:
        return Adder(self._store(), self.id, self.member)

    # ---------------------------------------------------------------- changing

    def seal(self, connection: object = NOT_GIVEN) -> str:
        """Seals the batch: from now on only its own jobs can add jobs. Returns ``sealed``, or ``ended`` if none is unfinished.

        Waits until the transactions of all adds have ended. With ``connection``, joins its transaction. Raises BatchNotFoundError, and
        BatchClosedError if the batch is sealed already or was cancelled.
        """
        return self._ask(self._seal(), connection)

    async def aseal(self, connection: object = NOT_GIVEN) -> str:
        """``seal`` for async callers."""
        return await self._aask(self._seal(), connection)

    def _seal(self) -> Flow[str]:
        if self.member is not None:
            yield from self._progress()
        said: str = yield statements.seal_batch(self.id)
        return said

    def cancel(self, connection: object = NOT_GIVEN) -> str:
        """Cancels the batch: unfinished jobs end, or are asked to stop if they run, and no job follows.

        Returns ``cancelled``, ``requested`` if some are unfinished, or ``ended`` if the batch had ended. Of a large batch, the leader ends
        the jobs after the first 5,000. With ``connection``, joins its transaction. Raises BatchNotFoundError.
        """
        return self._ask(self._cancel(), connection)

    async def acancel(self, connection: object = NOT_GIVEN) -> str:
        """``cancel`` for async callers."""
        return await self._aask(self._cancel(), connection)

    def _cancel(self) -> Flow[str]:
        yield from self._progress()
        said: str | None = yield statements.cancel_workflow(self.id)
        if said is None:
            raise self._missing()
        return said

    def retry(self, connection: object = NOT_GIVEN) -> int:
        """Runs the jobs again that are dead or cancelled, and returns how many. If all complete then, ``on_success`` follows.

        ``on_failure`` and ``on_end`` follow only once. With ``connection``, joins its transaction. Without it, brings back up to 1,000 jobs in
        each transaction. Raises BatchNotFoundError.
        """
        count, after = 0, 0
        while (found := self._ask(self._retry(after), connection)).last is not None:
            count, after = count + found.jobs, found.last
        return count

    async def aretry(self, connection: object = NOT_GIVEN) -> int:
        """``retry`` for async callers."""
        count, after = 0, 0
        while (found := await self._aask(self._retry(after), connection)).last is not None:
            count, after = count + found.jobs, found.last
        return count

    def _retry(self, after: int) -> Flow[Retried]:
        if self.member is not None:
            yield from self._progress()
        found: Retried = yield statements.retry_members(self.id, after, RETRIED_AT_ONCE)
        return found

    # ---------------------------------------------------------------- waiting

    def join(self, timeout: Duration | None = None) -> BatchProgress:
        """Waits until the batch has ended, and returns how. A failed batch raises no error: look at ``state``.

        After ``timeout`` (seconds, a timedelta or a text such as ``5m``), raises WaitTimeoutError. Raises BatchNotFoundError.
        """
        patience = self._patience(timeout)
        while not (found := self.progress()).is_over:
            time.sleep(patience.pause())
        return found

    async def ajoin(self, timeout: Duration | None = None) -> BatchProgress:
        """``join`` for async callers."""
        patience = self._patience(timeout)
        while not (found := await self.aprogress()).is_over:  # noqa: ASYNC110 - the event is in the database
            await asyncio.sleep(patience.pause())
        return found

    def _patience(self, timeout: Duration | None) -> Patience:
        return Patience(f"Batch {self.id}", f"pgq batches show {self.id}", limit_of(timeout))
