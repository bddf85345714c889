"""Writes the checkpoints of all attempts of a worker in batches, and reads them for later attempts of the same jobs. Ends waits for signals.

The checkpointer works like the settler. If no statement is under way, it writes a checkpoint immediately. Otherwise checkpoints pile up
until the database has answered, and are then written together. So a step costs one round trip and a share of a commit.

A checkpoint cannot be written while the server is lost, or while another transaction has locked the job. In this case, the checkpointer
tries again until the attempt has lost its lease. If the answer to a batch was lost, the batch is sent again. If the server had committed
the batch, the second try finds its checkpoints under the same lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble, one_line
from pgqueue.database.sifting import sift
from pgqueue.errors import LeaseLostError, StepRefusedError
from pgqueue.model.steps import Checkpoint, Load, Question, TakeSignal, is_first
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import CheckpointRefused
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Ending
from pgqueue.worker.job_lines import LineBuffer

LOCKED = 0.1  # if a job was locked, its checkpoint is tried again after this many seconds
CHECKPOINTS_AT_ONCE = 200  # one statement writes at most this many checkpoints
BYTES_AT_ONCE = (
    4 * 1024 * 1024
)  # one statement writes values of at most this many bytes, or a single larger value
LOADS_AT_ONCE = 20  # one statement reads the checkpoints of at most this many jobs
AHEAD_AT_ONCE = 250  # one statement reads the checkpoints of at most this many jobs ahead

FutureAnswer = asyncio.Future[list[Checkpoint]] | Future[list[Checkpoint]]


@dataclass(eq=False, slots=True)
class Item:
    """A question of an attempt, and the future answer for which the handler waits."""

    attempt: Attempt
    question: Question
    answer: FutureAnswer
    is_there: bool = (
        False  # True: another checkpoint with the same name and key is stored already, and is the answer
    )

    @property
    def made(self) -> Checkpoint:
        assert isinstance(self.question, Checkpoint)
        return self.question

    def give(self, found: list[Checkpoint]) -> None:
        with suppress(InvalidStateError, asyncio.InvalidStateError):  # its handler no longer waits
            self.answer.set_result(found)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError, asyncio.InvalidStateError):
            self.answer.set_exception(error)

    def lose(self) -> None:
        self.fail(LeaseLostError(self.attempt.id, self.attempt.lease_id))


class Checkpointer:
    """``cancel`` is called with the ids of jobs that were asked to stop, and ``lose`` with attempts whose leases are lost."""

    def __init__(
        self,
        link: Link,
        cancel: Callable[[list[int]], object],
        lose: Callable[[Collection[Attempt]], object],
    ) -> None:
        self.lines = LineBuffer()
        self._link, self._cancel, self._lose = link, cancel, lose
        self._items: list[Item] = []
        self._open: set[Item] = set()  # all items without an answer, also those that are kept for later
        self._ahead: list[Attempt] = []  # later attempts whose checkpoints are still to be read ahead
        self._arrived = asyncio.Event()
        # The tasks whose later attempts begin with reading all checkpoints, as far as this worker has seen.
        self.readers: set[str] = set()
        self._trouble = Trouble("the storing of checkpoints")
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---------------------------------------------------------------- asking

    def ask(self, attempt: Attempt, question: Question) -> Future[list[Checkpoint]]:
        answer: Future[list[Checkpoint]] = Future()
        if (known := self._known(attempt, question)) is not None:
            answer.set_result(known)
            return answer
        item = Item(attempt, question, answer)
        try:
            if self._loop is None:
                raise RuntimeError  # noqa: TRY301 - the worker has ended, or its loop is closed
            self._loop.call_soon_threadsafe(self._add, item)
        except RuntimeError:
            item.lose()
        return answer

    async def aask(self, attempt: Attempt, question: Question) -> list[Checkpoint]:
        if (known := self._known(attempt, question)) is not None:
            return known
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            return await asyncio.wrap_future(self.ask(attempt, question))
        answer: asyncio.Future[list[Checkpoint]] = loop.create_future()
        self._add(Item(attempt, question, answer))
        return await answer

    def load_ahead(self, attempts: Iterable[Attempt]) -> None:
        """Reads the checkpoints of those of these attempts that will probably ask for them. They have just been claimed.

        Thus a handler that begins a little later finds them known. If many jobs wake at the same moment, each of them would ask otherwise.
        """
        if not self.readers:
            return
        self._ahead += [a for a in attempts if not is_first(a.lease_id) and a.task in self.readers]
        if self._ahead:
            self._arrived.set()

    def _known(self, attempt: Attempt, question: Question) -> list[Checkpoint] | None:
        """Returns the answer if it was read ahead."""
        if not isinstance(question, Load) or not question.is_first:
            return None
        self.readers.add(attempt.task)
        known, attempt.known = attempt.known, None
        return known

    def _give_known(self, item: Item) -> bool:
        known = None if item.is_there else self._known(item.attempt, item.question)
        if known is not None:
            self._end(item).give(known)
        return known is not None

    def _add(self, item: Item) -> None:
        if self._loop is None:
            item.lose()
            return
        self._open.add(item)
        self._items.append(item)
        self._arrived.set()

    # ---------------------------------------------------------------- answering

    async def run(self) -> None:
        """Answers questions until it is cancelled. At the end, every attempt that still waits for an answer gets LeaseLostError."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._arrived.wait()
                await self._answer(self._next())
        finally:
            self._loop = None
            for item in self._open:
                item.lose()

    def _next(self) -> list[Item]:
        size = count = 0
        for item in self._items[:CHECKPOINTS_AT_ONCE]:
            size += len(item.question.value) if isinstance(item.question, Checkpoint) else 0
            if count and size > BYTES_AT_ONCE:
                break
            count += 1
        batch, self._items = self._items[:count], self._items[count:]
        if not self._items:
            self._arrived.clear()
        return batch

    async def _answer(self, batch: list[Item]) -> None:
        stores: list[Item] = []
        loads: list[Item] = []
        takes: list[Item] = []
        for item in batch:
            if item.answer.done():  # its handler no longer waits
                self._open.discard(item)
            elif item.attempt.ending is Ending.LOST:
                self._end(item).lose()
            elif isinstance(item.question, TakeSignal):
                takes.append(item)
            else:
                (loads if item.is_there or isinstance(item.question, Load) else stores).append(item)
        stores.sort(key=lambda item: item.attempt.id)
        await self._each(stores, self._store)
        if self._ahead:
            await self._load_ahead()
        loads = [item for item in loads if not self._give_known(item)]
        for at in range(0, len(loads), LOADS_AT_ONCE):
            await self._each(loads[at : at + LOADS_AT_ONCE], self._load)
        for at in range(0, len(takes), LOADS_AT_ONCE):
            await self._each(takes[at : at + LOADS_AT_ONCE], self._take)

    async def _each(self, batch: list[Item], answer: Callable[[Sequence[Item]], Awaitable[None]]) -> None:
        """Answers these items. If the database refuses one of them, the others are still answered."""
        left = dict.fromkeys(batch)

        async def run(part: Sequence[Item]) -> list[Item]:
            await answer(part)
            for item in part:
                del left[item]
            return list(part)

        async def refuse(item: Item, error: Exception) -> None:
            del left[item]
            said = item.attempt.mask(one_line(error))
            emit(CheckpointRefused(item.attempt.id, item.attempt.task, said))
            what = f"The database refused a checkpoint of job {item.attempt.id}: {said}"
            self._end(item).fail(StepRefusedError(what))

        async def leave(item: Item, error: Exception) -> None:
            del left[item]
            self._keep([item], self._trouble.after(error))

        try:
            if batch:
                await sift(batch, run, refuse, leave)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._keep(list(left), self._trouble.after(error))
        else:
            self._keep(list(left), LOCKED)  # after many refusals, ``sift`` does not try the rest

    async def _store(self, part: Sequence[Item]) -> None:
        if len(part) == 1 and await self._store_alone(part[0]):
            return
        made = [(item.attempt.worker_id, item.attempt.id, item.attempt.lease_id, item.made) for item in part]
        found = await self._link.once(statements.store_checkpoints(made))
        self._trouble.over()
        lost: list[Attempt] = []
        for item in part:
            attempt = item.attempt
            lease = (attempt.id, attempt.lease_id)
            if lease in found.locked:
                self._keep([item], LOCKED)
            elif lease not in found.leases:
                lost.append(attempt)
                self._end(item).lose()
            elif (lease, *item.made.step_id) in found.stored:
                self._give_stored(item)
            else:
                item.is_there = True
                self._add(item)
        if asked := [job_id for (job_id, _), is_asked in found.leases.items() if is_asked]:
            self._cancel(asked)
        if lost:
            self._lose(lost)

    async def _store_alone(self, item: Item) -> bool:
        """Stores a checkpoint by a cheaper statement. Returns False if that statement cannot store it."""
        attempt = item.attempt
        store = statements.store_checkpoint(attempt.worker_id, attempt.id, attempt.lease_id, item.made)
        if not await self._link.once(store):
            return False
        self._trouble.over()
        self._give_stored(item)
        return True

    def _give_stored(self, item: Item) -> None:
        item.attempt.has_checkpoint = True
        self._end(item).give([item.made._replace(lease_id=item.attempt.lease_id)])

    async def _load_ahead(self) -> None:
        """Reads checkpoints ahead. If that fails, nothing is lost: the handlers ask for them."""
        ahead, self._ahead = self._ahead, []
        for at in range(0, len(ahead), AHEAD_AT_ONCE):
            part = ahead[at : at + AHEAD_AT_ONCE]
            try:
                found = await self._link.once(statements.load_ahead([attempt.id for attempt in part]))
            except Exception as error:  # noqa: BLE001 - it is logged
                self._trouble.after(error)
                return
            self._trouble.over()
            for attempt in part:
                attempt.known = found.get(attempt.id)

    async def _load(self, part: Sequence[Item]) -> None:
        found = await self._link.once(statements.load_checkpoints(sorted({item.attempt.id for item in part})))
        self._trouble.over()
        for item in part:
            rows = found[item.attempt.id]
            if not item.is_there:
                self._end(item).give(rows)
                continue
            stored = [row for row in rows if row.step_id == item.made.step_id]
            if stored:
                if stored[0].lease_id == item.attempt.lease_id:
                    item.attempt.has_checkpoint = True
                self._end(item).give(stored)
            else:  # it was forgotten meanwhile
                item.is_there = False
                self._add(item)

    async def _take(self, part: Sequence[Item]) -> None:
        takes = [
            (item.attempt.worker_id, item.attempt.id, item.attempt.lease_id, item.question)
            for item in part
            if isinstance(item.question, TakeSignal)
        ]
        answers = await self._link.once(statements.take_signals(takes))
        self._trouble.over()
        lost: list[Attempt] = []
        for item, taken in zip(part, answers, strict=True):
            if taken.what == "locked":
                self._keep([item], LOCKED)
            elif taken.what == "lost":
                lost.append(item.attempt)
                self._end(item).lose()
            else:
                self._end(item).give(taken.found)
        if asked := [item.attempt.id for item, taken in zip(part, answers, strict=True) if taken.asked]:
            self._cancel(asked)
        if lost:
            self._lose(lost)

    def _end(self, item: Item) -> Item:
        self._open.discard(item)
        return item

    def _keep(self, items: list[Item], pause: float) -> None:
        if items:
            asyncio.get_running_loop().call_later(pause, self._bring_back, items)

    def _bring_back(self, items: list[Item]) -> None:
        self._items += items
        self._arrived.set()
