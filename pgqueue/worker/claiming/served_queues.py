"""The queues that a worker serves, as its option -Q gives them: ``mail:20,shop.*,default``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

from pgqueue.errors import InvalidSettingError
from pgqueue.model.names import check_name
from pgqueue.text.values import shown

SLOTS = re.compile(r"0*[1-9]\d{0,4}", re.ASCII)
MOST_SLOTS = 10_000


def parse_queues(text: str, where: str = "-Q") -> dict[str, int | None]:
    """Parses ``mail:20,shop.*``: maps each name or pattern to its own number of slots, or to None if it has no slots of its own."""
    queues: dict[str, int | None] = {}
    for part in text.split(","):
        name, colon, slots = part.strip().rpartition(":")
        if not colon or not slots[:1].isdigit():
            name, slots = part.strip(), ""
        check_name("queue", name.replace("*", "_"))
        if slots and not (SLOTS.fullmatch(slots) and int(slots) <= MOST_SLOTS):
            raise InvalidSettingError(
                f"Queue {name!r} asks for {shown(slots)} slots in {where}.",
                do=f"use a number from 1 to {MOST_SLOTS}; if the number is part of the name, add another number: {part.strip()}:10",
            )
        if name in queues:
            raise InvalidSettingError(
                f"Queue {name!r} is named twice.", do=f"name each queue once in {where}"
            )
        queues[name] = int(slots) if slots else None
    return queues


MOST_KEPT = 4096  # a process keeps the results of pattern matching for at most this many queues


class ServedQueues:
    """The names and the patterns of ``-Q``. In a pattern, ``*`` stands for any text."""

    def __init__(self, queues: Iterable[str]) -> None:
        queues = list(queues)
        self.names = [queue for queue in queues if "*" not in queue]
        self.patterns = [queue for queue in queues if "*" in queue]
        self._ranks = {queue: rank for rank, queue in enumerate(queues)}
        self._fitting = lru_cache(MOST_KEPT)(
            self._fit
        )  # bounded, because enqueuers can use any number of queues

    def serving_name(self, queue: str) -> str | None:
        """Returns the name in ``-Q`` that is equal to ``queue``, or else the first pattern that matches ``queue``, or None."""
        if queue in self._ranks or not self.patterns:
            return queue if queue in self._ranks else None
        return self._fitting(queue)

    def _fit(self, queue: str) -> str | None:
        return next((pattern for pattern in self.patterns if fnmatchcase(queue, pattern)), None)

    def rank(self, queue: str) -> int:
        """Returns the number, counted from 0, of the name or pattern in ``-Q`` that serves a queue."""
        name = self.serving_name(queue)
        return len(self._ranks) if name is None else self._ranks[name]
