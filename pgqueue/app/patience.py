"""The patience of ``join``: how long a wait for a workflow or a batch has left, and how long it pauses between two looks. Does no I/O."""

from __future__ import annotations

from pgqueue.errors import WaitTimeoutError
from pgqueue.runtime.clock import monotonic

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # in seconds; each pause is longer than the one before


class Patience:
    """``what`` is waited for, and ``do`` is the command that shows it. ``limit``: seconds; None: there is no limit. ``first``: the first pause."""

    def __init__(self, what: str, do: str, limit: float | None, first: float = FIRST_PAUSE) -> None:
        self._what, self._do, self._limit = what, do, limit
        self._end = None if limit is None else monotonic() + limit
        self._next = first

    def left(self) -> float | None:
        """Returns the seconds that are left; None: there is no limit. Raises WaitTimeoutError if none are left."""
        if self._end is None:
            return None
        if (left := self._end - monotonic()) <= 0:
            raise WaitTimeoutError(f"{self._what} has not ended after {self._limit:g} s.", do=self._do)
        return left

    def pause(self) -> float:
        """Returns the seconds to pause before the next look. Raises WaitTimeoutError if the time is over."""
        left, pause = self.left(), self._next
        self._next = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
        return pause if left is None else min(left, pause)
