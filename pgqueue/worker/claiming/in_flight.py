"""What a worker holds, and how many more it may take."""

from __future__ import annotations

from collections.abc import Callable

from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.served_queues import ServedQueues


class InFlight:
    """The claimed and not yet settled attempts of a worker, by job id, and how many more it may take.

    ``queues``: names and patterns, each with slots of its own or None. ``lose`` stops and bars attempts that another replaces.
    """

    def __init__(
        self,
        slots: int,
        queues: dict[str, int | None],
        lose: Callable[[list[Attempt]], object] = lambda _attempts: None,
    ) -> None:
        self.slots, self._lose = slots, lose
        self.limits = queues
        self.attempts: dict[int, Attempt] = {}
        self._served = ServedQueues(queues)
        self._taken = dict.fromkeys((key for key, limit in queues.items() if limit is not None), 0)

    def __len__(self) -> int:
        return len(self.attempts)

    def add(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            former = self.attempts.get(attempt.id)
            if former is not None:  # a crash of the server undid the claim that it came from
                former.lost = True
                self.remove([former])
                self._lose([former])
            self.attempts[attempt.id] = attempt
            if self._taken:
                self._count(attempt.queue, 1)

    def remove(self, attempts: list[Attempt]) -> None:
        """Frees their slots: only after their settle committed."""
        for attempt in attempts:
            if self.attempts.get(attempt.id) is attempt:
                del self.attempts[attempt.id]
                if self._taken:
                    self._count(attempt.queue, -1)

    def _count(self, queue: str, change: int) -> None:
        key = self._served.key(queue)
        if key in self._taken:
            self._taken[key] += change

    def room(self, prefetch: int) -> int:
        return max(self.slots + prefetch - len(self.attempts), 0)

    def queue_room(self, queue: str) -> int | None:
        """Free slots of the name or pattern that serves a queue, if it has slots of its own; else None."""
        key = self._served.key(queue)
        limit = None if key is None else self.limits[key]
        return None if key is None or limit is None else max(limit - self._taken[key], 0)
