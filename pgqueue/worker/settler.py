"""Writes outcomes in batches and frees the slots of what it wrote.

At once when nothing is being written, else as soon as the last batch has returned: a single job waits for nobody, and
a flood shares its commits. A crash costs at most the batch under way and what gathered meanwhile: those jobs run again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from pgqueue import statements
from pgqueue.apart import apart, bury, is_of_a_row
from pgqueue.connections import TROUBLE, Link
from pgqueue.outcome import COMPLETED, FORGOTTEN, Outcome
from pgqueue.sql import Statement
from pgqueue.worker.attempt import Attempt

log = logging.getLogger("pgqueue")
LARGEST = 500  # outcomes in a batch: more would cost no less each, and hold up the slots that they free


Batch = list[tuple[Attempt, Outcome]]


class Settler:
    def __init__(self, link: Link, freed: Callable[[list[Attempt]], None], hooks: Sequence[str] = ()) -> None:
        """``hooks`` are to be told of what is written."""
        self._link, self._freed, self._hooks = link, freed, hooks
        self._outcomes: Batch = []
        self._arrived = asyncio.Event()
        self._stopping = False
        self.worker_id = 0

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        self._outcomes.append((attempt, outcome))
        self._arrived.set()

    def stop(self) -> None:
        """Ends ``run`` once everything added so far is written."""
        self._stopping = True
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            batch, self._outcomes = self._outcomes[:LARGEST], self._outcomes[LARGEST:]
            if not self._outcomes and not self._stopping:
                self._arrived.clear()
            if not batch and self._stopping:
                return
            plain = [item for item in batch if item[1] is COMPLETED or item[1] is FORGOTTEN]
            others = [item for item in batch if item[1] is not COMPLETED and item[1] is not FORGOTTEN]
            for part, statement in ((plain, self._complete), (others, self._settle)):
                if part:
                    part.sort(key=_job_id)
                    await self._write(part, statement)
                    self._freed([attempt for attempt, _ in part])

    def _complete(self, batch: Batch) -> Statement[list[int]]:
        return statements.complete(self.worker_id, [(a.id, a.lease_id, outcome.kept) for a, outcome in batch])

    def _settle(self, batch: Batch) -> Statement[list[int]]:
        settled = [(a.id, a.lease_id, outcome) for a, outcome in batch]
        return statements.settle(self.worker_id, settled, self._hooks)

    async def _write(self, batch: Batch, statement: Callable[[Batch], Statement[list[int]]]) -> None:
        """All outcomes but those that the database refuses, which hold up no other."""

        async def run(part: Sequence[tuple[Attempt, Outcome]]) -> list[int]:
            return await self._write_part(list(part), statement)

        await apart(batch, run, self._refused)

    async def _write_part(
        self, batch: Batch, statement: Callable[[Batch], Statement[list[int]]]
    ) -> list[int]:
        interrupted = False
        while True:
            try:
                ours = await self._link.once(statement(batch))
            except Exception as error:
                if is_of_a_row(error) or not isinstance(error, TROUBLE):
                    raise
                # The commit may have happened: then the rows are gone, and a second try finds nothing to do.
                interrupted = True
                await self._link.wait_until_back()
            else:
                break
        if len(ours) < len(batch) and not interrupted:
            for attempt, outcome in batch:
                if attempt.id not in ours:
                    log.warning(
                        "%r: its lease %d was lost, so its outcome (%s) was not written",
                        attempt,
                        attempt.lease_id,
                        outcome.state,
                    )
        return ours

    async def _refused(self, item: tuple[Attempt, Outcome], error: Exception) -> None:
        attempt, outcome = item
        if outcome.reason == "unsettleable":
            log.error("%r: the database refuses every outcome: %s", attempt, error)
            await bury(self._link.once, attempt.id, self.worker_id, error)
            return
        log.error("%r: the database refused its outcome: %s", attempt, error)
        refused = Outcome.dead("unsettleable", error.with_traceback(None))
        await self._write([(attempt, refused)], self._settle)


def _job_id(item: tuple[Attempt, Outcome]) -> int:
    job_id: int = item[0].id
    return job_id
