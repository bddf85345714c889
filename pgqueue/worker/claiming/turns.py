"""Decides which lanes get a claim of their own: lanes under limits, and lanes of jobs with keys, which are claimed in turns. Does no I/O.

In each lane, jobs without a key are claimed by one statement, and jobs with keys by another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pgqueue.database.statements.claiming import Lane
from pgqueue.worker.claiming.served_queues import ServedQueues

Way = Literal["together", "limited", "in turns"]


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """One claim that is to be made: from several lanes ``together``, or from one lane that is ``limited`` or is claimed ``in turns``."""

    way: Way
    lanes: list[Lane]


class Turns:
    def __init__(self, served: ServedQueues) -> None:
        self._served = served
        self._last_keys: dict[
            Lane, str
        ] = {}  # for each lane that is claimed in turns: the key that had the last turn
        # For the same lanes: the front, a position before which the last survey or claim saw no job with a key.
        self._fronts: dict[Lane, str] = {}
        self._limited: set[str | None] = set()  # queues under limits; None stands for all queues
        self._plans = 0

    def __len__(self) -> int:
        return len(self._last_keys)

    def see(self, in_turns: Mapping[Lane, str], limited: Iterable[str | None]) -> bool:
        """Notes the lanes that are claimed in turns, their fronts, and the queues under limits. Returns whether any lane was unknown."""
        lanes = [lane for lane in in_turns if self._served.serving_name(lane[0]) is not None]
        is_new = any(lane not in self._last_keys for lane in lanes)
        self._last_keys = {lane: self._last_keys.get(lane, "") for lane in lanes}
        self._fronts = dict(in_turns)
        self._limited = set(limited)
        return is_new

    def resume(self, lane: Lane) -> tuple[str, str | None]:
        """Returns the arguments of the next claim from a lane: the key that had the last turn, and the front.

        If a job with a position before the front is committed later, this claim does not find it. The next survey corrects the front.
        """
        return self._last_keys.get(lane, ""), self._fronts.get(lane)

    def note_turn(self, lane: Lane, key: str, front: str) -> None:
        """Notes the key that had the last turn, and the front of the lane at that time."""
        if lane in self._last_keys:
            self._last_keys[lane], self._fronts[lane] = key, front

    def plan(self, plain: list[Lane], serving: Collection[str]) -> list[PlannedClaim]:
        """Returns the claims that are to be made, the most urgent first.

        ``plain``: the lanes of jobs without a key, in their order. ``serving``: the names and patterns of -Q that these claims serve.
        Within a priority, jobs with keys come first at every second call. At the other calls, jobs without a key come first.
        """
        if not self._last_keys and not self._limited:
            return [PlannedClaim("together", plain)] if plain else []
        self._plans += 1
        keys_first = self._plans % 2
        in_turns = sorted(
            (lane for lane in self._last_keys if self._served.serving_name(lane[0]) in serving),
            key=lambda lane: lane[1],
        )
        plans: list[PlannedClaim] = []
        for lane in plain:
            while in_turns and (in_turns[0][1] < lane[1] or (in_turns[0][1] == lane[1] and keys_first)):
                plans.append(PlannedClaim("in turns", [in_turns.pop(0)]))
            if lane[0] in self._limited or None in self._limited:
                plans.append(PlannedClaim("limited", [lane]))
            elif plans and plans[-1].way == "together":
                plans[-1].lanes.append(lane)
            else:
                plans.append(PlannedClaim("together", [lane]))
        return plans + [PlannedClaim("in turns", [lane]) for lane in in_turns]
