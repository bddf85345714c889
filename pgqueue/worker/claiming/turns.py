"""Which lanes are not claimed the plain way: those under limits, and those whose jobs carry keys, which take turns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pgqueue.worker.claiming.served_queues import ServedQueues

Name = tuple[str, int]
Way = Literal["plain", "limited", "keyed"]


@dataclass(frozen=True, slots=True)
class Errand:
    """One claim to make: of several plain lanes together, or of one that is limited or keyed."""

    way: Way
    lanes: list[Name]


class Turns:
    def __init__(self, served: ServedQueues) -> None:
        self._served = served
        self._keyed: dict[Name, str] = {}  # the key whose turn was last
        self._since: dict[Name, str] = {}  # the place in front of which no job was, at the last look or claim
        self._limited: set[str | None] = set()  # queues; None is any
        self._turn = 0

    def __len__(self) -> int:
        return len(self._keyed)

    def see(self, keyed: Mapping[Name, str], limited: Iterable[str | None]) -> bool:
        """Lanes with jobs that carry keys, and queues under limits that are not by key; whether one of the lanes was unknown."""
        lanes = [lane for lane in keyed if self._served.key(lane[0]) is not None]
        new = any(lane not in self._keyed for lane in lanes)
        self._keyed = {lane: self._keyed.get(lane, "") for lane in lanes}
        self._since = dict(keyed)
        self._limited = set(limited)
        return new

    def place(self, lane: Name) -> tuple[str, str | None]:
        """The key whose turn was last, and from where on to look: what commits late in front of that is seen by the next look for lanes."""
        return self._keyed.get(lane, ""), self._since.get(lane)

    def took(self, lane: Name, key: str, front: str) -> None:
        """The turn of this key was the last one, and the first job lay here."""
        if lane in self._keyed:
            self._keyed[lane], self._since[lane] = key, front

    def errands(self, plain: list[Name], keys: Sequence[str]) -> list[Errand]:
        """What to claim, urgent first. ``plain`` are the lanes of jobs without a key, in order; ``keys`` the names and patterns asked for.

        Of one priority, jobs with keys and jobs without come first in turn.
        """
        if not self._keyed and not self._limited:
            return [Errand("plain", plain)] if plain else []
        self._turn += 1
        keyed = sorted(
            (lane for lane in self._keyed if self._served.key(lane[0]) in keys), key=lambda lane: lane[1]
        )
        found: list[Errand] = []
        for lane in plain:
            while keyed and (keyed[0][1] < lane[1] or (keyed[0][1] == lane[1] and self._turn % 2)):
                found.append(Errand("keyed", [keyed.pop(0)]))
            if lane[0] in self._limited or None in self._limited:
                found.append(Errand("limited", [lane]))
            elif found and found[-1].way == "plain":
                found[-1].lanes.append(lane)
            else:
                found.append(Errand("plain", [lane]))
        return found + [Errand("keyed", [lane]) for lane in keyed]
