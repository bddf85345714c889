"""Notices parts of a process that no longer do their work. Each part has a mark that changes whenever the part works. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TICK = 0.25  # seconds between two looks at the marks
LOOP_LIMIT = 10.0  # an event loop that does not respond for this many seconds shows no sign of life
# If a blocked loop ends the process after ``--blocked`` seconds, the loop counts as silent after this share of them, which is earlier.
SHARE_OF_BLOCKED = 1 / 3


class Sign(NamedTuple):
    """A part of the process, such as the claimer.

    ``mark`` returns a value that changes when the part works. It returns None while the part rests: nothing expects it to work then.
    ``limit``: the part counts as silent if its mark has been the same for this many seconds.
    """

    part: str
    mark: Callable[[], object]
    limit: float


def loop_limit(blocked: float) -> float:
    """Returns after how many seconds a loop counts as silent. ``blocked``: the setting of the same name."""
    return min(LOOP_LIMIT, blocked * SHARE_OF_BLOCKED) if blocked else LOOP_LIMIT


class VitalSigns:
    """Counts for how long each part has shown no sign of life. ``tick`` must be called every TICK seconds, on any one thread.

    The time is the number of calls of ``tick``, not the time of a clock. So time in which the whole process was stopped does not count.
    """

    def __init__(self, *signs: Sign) -> None:
        self._signs = signs
        self._marks: list[object] = [None] * len(signs)
        self._silent = [0.0] * len(signs)

    def tick(self) -> None:
        for number, sign in enumerate(self._signs):
            mark = sign.mark()
            is_alive = mark is None or mark != self._marks[number]
            self._silent[number] = 0.0 if is_alive else self._silent[number] + TICK
            self._marks[number] = mark

    def silent(self) -> tuple[str, ...]:
        """Returns the names of the parts that show no sign of life."""
        found = zip(self._signs, self._silent, strict=True)
        return tuple(sign.part for sign, seconds in found if seconds >= sign.limit)

    def failing(self) -> tuple[str, ...]:
        """Returns a sentence for each of these parts."""
        return tuple(map(said_of, self.silent()))


def said_of(part: str) -> str:
    """Returns in words what is wrong with a part that shows no sign of life."""
    return "the event loop does not respond" if part == "loop" else f"the {part} has made no progress"
