"""Keeps the attempts that a worker has claimed and not yet begun. Does no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pgqueue.worker.attempt import Attempt

OVERTAKEN = 0.3  # a more urgent attempt runs first if it was claimed at most this many seconds later


class Waiting:
    """Attempts that wait for a slot. More urgent attempts run first, and attempts of one priority run in the order in which they were added.

    But if the most urgent attempt was claimed more than OVERTAKEN seconds after another attempt, that other attempt runs first. Without
    this rule, a stream of urgent jobs would keep all other jobs from running.
    """

    def __init__(self) -> None:
        self._by_priority: dict[int, deque[Attempt]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_priority.values()))

    def __bool__(self) -> bool:
        return bool(self._by_priority)

    def __iter__(self) -> Iterator[Attempt]:
        return (attempt for _, attempts in sorted(self._by_priority.items()) for attempt in attempts)

    def append(self, attempt: Attempt) -> None:
        attempts = self._by_priority.get(attempt.priority)
        if attempts is None:
            attempts = self._by_priority[attempt.priority] = deque()
        attempts.append(attempt)

    def popleft(self) -> Attempt:
        priority = min(self._by_priority)
        if len(self._by_priority) > 1:
            late = self._by_priority[priority][0].claimed_at - OVERTAKEN
            oldest = min(self._by_priority, key=lambda other: self._by_priority[other][0].claimed_at)
            priority = oldest if self._by_priority[oldest][0].claimed_at < late else priority
        attempts = self._by_priority[priority]
        attempt = attempts.popleft()
        if not attempts:
            del self._by_priority[priority]
        return attempt

    def take_out(self, is_meant: Callable[[Attempt], bool]) -> list[Attempt]:
        """Removes the attempts for which ``is_meant`` returns True. Returns these attempts, the most urgent first."""
        taken = [attempt for attempt in self if is_meant(attempt)]
        for attempt in taken:
            attempts = self._by_priority[attempt.priority]
            attempts.remove(attempt)
            if not attempts:
                del self._by_priority[attempt.priority]
        return taken
