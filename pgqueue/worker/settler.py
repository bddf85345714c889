"""Writes the outcomes of attempts in batches, and frees the slots of these attempts.

If no batch is being written, the settler writes an outcome immediately. Otherwise it waits for the database's answer to that batch, and
then writes all outcomes that piled up meanwhile as the next batch. So a single outcome does not wait, and many outcomes share a commit. If
the worker crashes, it loses at most the batch that is being written and the outcomes that have piled up. The jobs of these outcomes run
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pgqueue.database import statements
from pgqueue.database.driver_errors import describe
from pgqueue.database.link import Link
from pgqueue.database.outage import CONFLICTS, ConnectionLost, Trouble, one_line
from pgqueue.database.sifting import make_dead, sift
from pgqueue.model.hooks import hook_name
from pgqueue.model.outcome import COMPLETED, FORGOTTEN, Outcome
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import (
    CommitUnconfirmed,
    OutcomeLost,
    OutcomeRefused,
    OutcomesWritten,
    OutcomeWaits,
)
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import OwnCommit
from pgqueue.worker.job_facts import emit_written

UNCONFIRMED = OwnCommit.UNCONFIRMED
LOCKED = 0.5  # seconds until the settler tries again to write to a row that was locked
# The most outcomes in one batch. A larger batch would not make an outcome cheaper, and would free the slots later.
OUTCOMES_AT_ONCE = 500
# A result of more characters goes to settle.sql. complete_nodes.sql finds each result by walking over those before it.
SHORT_RESULT = 1000


Batch = list[tuple[Attempt, Outcome]]
ToStatement = Callable[[Batch], Statement[list[int]]]


class Settler:
    def __init__(
        self,
        link: Link,
        freed: Callable[[list[Attempt]], None],
        hooks: Sequence[str] = (),
        settled: Callable[[Batch], object] = lambda _: None,
    ) -> None:
        """``hooks`` are the names of the app's hook tasks. The statement that writes outcomes also enqueues jobs of these tasks.

        ``settled`` is called with the outcomes that were written.
        """
        self._link, self._freed, self._hooks, self._settled = link, freed, hooks, settled
        self._outcomes: Batch = []
        self._kept = 0  # how many outcomes could not be written; the settler tries each of them again later
        self._waited: set[Attempt] = (
            set()
        )  # attempts whose outcomes wait for a lock; for each of them, this was logged
        # Attempts whose outcomes could not be written together with other outcomes, because of an error that can go away by itself. Each of
        # these outcomes is written by a statement of its own.
        self._alone: set[Attempt] = set()
        self._trouble = Trouble("the settling")
        self._arrived = asyncio.Event()
        self._stopping = False
        self.worker_id = 0

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        if not self._outcomes:
            self._arrived.set()  # it stays set as long as there are outcomes
        self._outcomes.append((attempt, outcome))

    def stop(self) -> None:
        """Makes ``run`` end as soon as every outcome that was added is written."""
        self._stopping = True
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            batch, self._outcomes = self._outcomes[:OUTCOMES_AT_ONCE], self._outcomes[OUTCOMES_AT_ONCE:]
            if not self._outcomes and not (self._stopping and not self._kept):
                self._arrived.clear()
            if not batch and self._stopping and not self._kept:
                return
            if self._waited:
                waited = [item for item in batch if item[0] in self._waited]
                others = [item for item in batch if item[0] not in self._waited]
                batch = (await self._unlocked(waited) if waited else []) + others
            if self._alone:
                batch = await self._write_alone(batch)
            for part, statement in self._parts(batch):
                if part:
                    part.sort(key=_job_id)
                    await self._write(part, statement)

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, ToStatement]]:
        """Yields the parts of a batch, each with the function that makes the statement for it.

        Plain completions come first. The other statements can wait for counters of workflows.
        """
        plain = [item for item in batch if item[1] is COMPLETED or item[1] is FORGOTTEN]
        yield plain, self._complete
        if len(plain) < len(batch):
            rest = [item for item in batch if item[1] is not COMPLETED and item[1] is not FORGOTTEN]
            nodes = {item[0] for item in rest if self._completes_node(*item)}
            others = [item for item in rest if item[0] not in nodes]
            yield [item for item in rest if item[0] in nodes], self._complete_nodes
            yield [item for item in others if not item[1].requests], self._settle
            yield [item for item in others if item[1].requests], self._suspend

    async def _write_alone(self, batch: Batch) -> Batch:
        """Takes the outcomes of ``_alone`` out of the batch, and returns the other outcomes.

        Writes only the first outcome of ``_alone`` now, because each of them perhaps has to wait for a lock. Keeps the rest for later.
        """
        alone = [item for item in batch if item[0] in self._alone]
        others = [item for item in batch if item[0] not in self._alone]
        if alone:
            await self._write(alone[:1], self._suspend if alone[0][1].requests else self._settle)
            self._keep(alone[1:], LOCKED)
        return others

    def _complete(self, batch: Batch) -> Statement[list[int]]:
        return statements.complete(self.worker_id, [(a.id, a.lease_id, outcome.kept) for a, outcome in batch])

    def _completes_node(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Returns whether complete_nodes.sql can write this outcome: a node completed, with nothing but a short result."""
        return (
            attempt.is_node
            and outcome.state == "completed"
            and outcome.progress is None
            and len(outcome.result or "") <= SHORT_RESULT
            and not (self._hooks and hook_name(attempt.task, "completed") in self._hooks)
        )

    def _complete_nodes(self, batch: Batch) -> Statement[list[int]]:
        completed = [(a.id, a.lease_id, outcome.kept, outcome.result) for a, outcome in batch]
        return statements.complete_nodes(self.worker_id, completed)

    def _settle(self, batch: Batch) -> Statement[list[int]]:
        settled = [(a.id, a.lease_id, outcome) for a, outcome in batch]
        return statements.settle(self.worker_id, settled, self._hooks)

    def _suspend(self, batch: Batch) -> Statement[list[int]]:
        return statements.suspend(self.worker_id, [(a.id, a.lease_id, outcome) for a, outcome in batch])

    async def _write(self, batch: Batch, statement: ToStatement) -> None:
        """Writes the outcomes of attempts, and frees the slots of these attempts.

        Outcomes that cannot be written now are kept for later. If the database refuses one outcome, the other outcomes are still written.
        """
        left = dict(batch)

        async def run(part: Sequence[tuple[Attempt, Outcome]]) -> list[int]:
            written = await self._write_part(list(part), statement)
            for attempt, _ in part:
                del left[attempt]
            return written

        async def give_up(item: tuple[Attempt, Outcome], error: Exception) -> None:
            del left[item[0]]
            await self._refused(item, error)

        async def leave(item: tuple[Attempt, Outcome], error: Exception) -> None:
            attempt, outcome = item
            del left[attempt]
            if attempt not in self._alone:
                self._alone.add(attempt)
                emit(OutcomeWaits(attempt.id, attempt.task, outcome.state, attempt.mask(one_line(error))))
            self._keep([item], self._trouble.after(error))

        try:
            await sift(batch, run, give_up, leave)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._keep(list(left.items()), self._trouble.after(error))
        else:
            self._keep(list(left.items()), LOCKED)

    async def _write_part(self, batch: Batch, statement: ToStatement) -> list[int]:
        """Writes these outcomes, and returns the ids of their jobs. Raises an error even if only one of the outcomes is the cause."""
        begun = monotonic()
        try:
            written, sent_again = await self._send(statement(batch))
        except CONFLICTS:
            unlocked = await self._unlocked(batch)
            if len(unlocked) == len(
                batch
            ):  # no row of these jobs is locked, so a row of ``seats`` or a table is locked
                raise
            if unlocked:
                await self._write(unlocked, statement)
            return []
        attempts = [attempt for attempt, _ in batch]
        for waiting in (self._waited, self._alone):
            if waiting:
                waiting.difference_update(attempts)
        self._count(batch, written, statement, begun, sent_again=sent_again)
        if len(written) < len(batch) and not sent_again:
            await self._emit_lost(batch, written)
        if unconfirmed := [item for item in batch if item[0].own_commit is UNCONFIRMED]:
            await self._confirm(unconfirmed, written)
        self._freed(attempts)
        return written

    def _count(
        self, batch: Batch, written: list[int], statement: ToStatement, begun: float, *, sent_again: bool
    ) -> None:
        """Counts the outcomes that were written. If the batch was sent twice, this is not known, and all of them count."""
        if not sent_again and len(written) < len(batch):
            ids = set(written)
            batch = [item for item in batch if item[0].id in ids]
        if batch:
            self._settled(batch)
        if batch and has_subscribers(OutcomesWritten):
            emit_written("ack" if statement == self._complete else "settle", batch, monotonic() - begun)

    async def _send(self, statement: Statement[list[int]]) -> tuple[list[int], bool]:
        """Sends the statement until an answer comes. Returns the ids that it returned, and whether it was sent more than once.

        If the connection breaks, the server has perhaps committed the first try. In this case, the second try finds no running job.
        """
        sent_again = False
        while True:
            try:
                written = await self._link.once(statement)
            except ConnectionLost as error:
                sent_again = True
                await asyncio.sleep(self._trouble.after(error))
            else:
                self._trouble.over()
                return written, sent_again

    async def _emit_lost(self, batch: Batch, written: list[int]) -> None:
        """Emits why each outcome was not written: the lease is lost, or a child process had completed the job before it died."""
        missing = [
            item for item in batch if item[0].id not in written and item[0].own_commit is not UNCONFIRMED
        ]
        crashed = [(attempt.id, attempt.lease_id) for attempt, outcome in missing if outcome.crashed]
        committed = await self._link.run(statements.find_committed(crashed)) if crashed else []
        for attempt, outcome in missing:
            if attempt.id in committed:
                self._settled([(attempt, COMPLETED)])
                emit(CommitUnconfirmed(attempt.id, attempt.task, "made", "completed"))
            else:
                emit(OutcomeLost(attempt.id, attempt.task, attempt.lease_id, outcome.state))

    async def _confirm(self, batch: Batch, written: list[int]) -> None:
        """Emits, for each job whose handler did not get the answer to its COMMIT, whether the handler's transaction was committed."""
        held = [(attempt.id, attempt.lease_id) for attempt, _ in batch if attempt.id not in written]
        committed = await self._link.run(statements.find_committed(held)) if held else []
        for attempt, outcome in batch:
            if attempt.id in committed:
                self._settled([(attempt, COMPLETED)])
                emit(CommitUnconfirmed(attempt.id, attempt.task, "made", "completed"))
            elif attempt.id in written:
                emit(CommitUnconfirmed(attempt.id, attempt.task, "not made", outcome.state))
            else:
                emit(CommitUnconfirmed(attempt.id, attempt.task, "lost", outcome.state))

    async def _unlocked(self, batch: Batch) -> Batch:
        """Keeps for later the outcomes of jobs whose rows are locked, for instance by an uncommitted cancel. Returns the other outcomes."""
        try:
            ids = set(await self._link.once(statements.find_locked([attempt.id for attempt, _ in batch])))
        except Exception as error:  # noqa: BLE001 - it is logged
            self._keep(batch, self._trouble.after(error))
            return []
        locked = [item for item in batch if item[0].id in ids]
        for attempt, outcome in locked:
            if attempt not in self._waited:
                self._waited.add(attempt)
                emit(OutcomeWaits(attempt.id, attempt.task, outcome.state, None))
        self._keep(locked, LOCKED)
        return [item for item in batch if item[0].id not in ids]

    def _keep(self, batch: Batch, pause: float) -> None:
        if batch:
            self._kept += len(batch)
            asyncio.get_running_loop().call_later(pause, self._bring_back, batch)

    def _bring_back(self, batch: Batch) -> None:
        self._kept -= len(batch)
        self._outcomes += batch
        self._arrived.set()

    async def _refused(self, item: tuple[Attempt, Outcome], error: Exception) -> None:
        attempt, outcome = item
        for_good = outcome.reason == "unsettleable"
        emit(OutcomeRefused(attempt.id, attempt.task, attempt.mask(one_line(error)), for_good))
        if not for_good:
            refused = replace(
                Outcome.dead("unsettleable", error.with_traceback(None)), error=attempt.mask(describe(error))
            )
            await self._write([(attempt, refused)], self._settle)
            return
        try:
            await make_dead(self._link.once, attempt.id, self.worker_id, error, attempt.mask)
            self._settled([item])
            self._freed([attempt])
        except Exception as another:  # noqa: BLE001 - it is logged
            self._keep([item], self._trouble.after(another))


def _job_id(item: tuple[Attempt, Outcome]) -> int:
    job_id: int = item[0].id
    return job_id
