"""Keeps the attempts that a worker has claimed, and computes how many more jobs the worker can claim."""

from __future__ import annotations

from collections.abc import Callable

from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.served_queues import ServedQueues
from pgqueue.worker.ending import Ending


class InFlight:
    """The attempts of a worker that are claimed and not yet settled, by job id.

    ``queue_slots``: the names and patterns of -Q, each with its own number of slots, or with None if it shares the worker's slots.
    ``lose`` is called with an attempt if a later claim of the same job replaces it.
    """

    def __init__(
        self,
        slots: int,
        queue_slots: dict[str, int | None],
        lose: Callable[[list[Attempt]], object] = lambda _attempts: None,
    ) -> None:
        self._slots, self._queue_slots, self._lose = slots, queue_slots, lose
        self.attempts: dict[int, Attempt] = {}
        self._served = ServedQueues(queue_slots)
        # For each name or pattern with slots of its own: how many of these slots are taken.
        self._taken = dict.fromkeys((name for name, slots in queue_slots.items() if slots is not None), 0)

    def __len__(self) -> int:
        return len(self.attempts)

    def add(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            former = self.attempts.get(attempt.id)
            if former is not None:  # a crash of the server has undone the former claim of this job
                former.end(Ending.LOST)
                self.remove([former])
                self._lose([former])
            self.attempts[attempt.id] = attempt
            if self._taken:
                self._count(attempt.queue, 1)

    def remove(self, attempts: list[Attempt]) -> None:
        """Frees the slots of these attempts. If they have outcomes, the caller must have committed the outcomes before."""
        for attempt in attempts:
            if self.attempts.get(attempt.id) is attempt:
                del self.attempts[attempt.id]
                if self._taken:
                    self._count(attempt.queue, -1)

    def _count(self, queue: str, change: int) -> None:
        name = self._served.serving_name(queue)
        if name in self._taken:
            self._taken[name] += change

    def room(self, ahead: int) -> int:
        """Returns how many jobs can be claimed now: one for each free slot, and ``ahead`` more."""
        return max(self._slots + ahead - len(self.attempts), 0)

    def queue_room(self, queue: str) -> int | None:
        """Returns how many slots are free for a queue whose name or pattern in -Q has slots of its own; None for every other queue."""
        name = self._served.serving_name(queue)
        slots = None if name is None else self._queue_slots[name]
        return None if name is None or slots is None else max(slots - self._taken[name], 0)
