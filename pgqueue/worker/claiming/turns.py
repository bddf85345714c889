"""Which lanes are claimed alone: lanes under limits, and lanes whose jobs have keys, which are taken in turns. Pure.

In each lane, the jobs without a key and the jobs with keys are claimed apart from each other.
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
    """One claim to make: from several lanes ``together``; or from one lane that is ``limited`` or taken ``in turns``."""

    way: Way
    lanes: list[Lane]


class Turns:
    def __init__(self, served: ServedQueues) -> None:
        self._served = served
        self._last_keys: dict[Lane, str] = {}  # for each lane taken in turns: the key whose turn was last
        # For the same lanes: the position before which the last survey or claim saw no job.
        self._fronts: dict[Lane, str] = {}
        self._limited: set[str | None] = set()  # queues; None stands for all
        self._plans = 0

    def __len__(self) -> int:
        return len(self._last_keys)

    def see(self, in_turns: Mapping[Lane, str], limited: Iterable[str | None]) -> bool:
        """Notes the lanes taken in turns with their fronts, and the queues under limits. Returns whether one of the lanes was unknown."""
        lanes = [lane for lane in in_turns if self._served.serving_name(lane[0]) is not None]
        is_new = any(lane not in self._last_keys for lane in lanes)
        self._last_keys = {lane: self._last_keys.get(lane, "") for lane in lanes}
        self._fronts = dict(in_turns)
        self._limited = set(limited)
        return is_new

    def resume(self, lane: Lane) -> tuple[str, str | None]:
        """Where the next claim goes on: the key whose turn was last, and the front.

        If a job commits before the front, the next survey sees it.
        """
        return self._last_keys.get(lane, ""), self._fronts.get(lane)

    def note_turn(self, lane: Lane, key: str, front: str) -> None:
        """The turn of this key was the last one, and this was the front of the lane."""
        if lane in self._last_keys:
            self._last_keys[lane], self._fronts[lane] = key, front

    def plan(self, plain: list[Lane], serving: Collection[str]) -> list[PlannedClaim]:
        """The claims to make, urgent ones first. ``plain``: the lanes of jobs without a key, in order. ``serving``: names and patterns.

        In one priority, jobs with keys and jobs without a key take turns at coming first.
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
