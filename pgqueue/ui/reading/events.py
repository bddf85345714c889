"""The events of all jobs as they happen: `pgq events tail` and the streams of the HTTP API find each event once, also one that commits late.

A look reads the newest events. It goes back to the begin of the transactions that were open at the last look, so it also finds what these
have committed since. A client can keep the position where a look begins: a reader that begins there again misses nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pgqueue.database import statements
from pgqueue.database.flows import Flow
from pgqueue.database.statements.jobs import JobEvent

# States that a job gets by an event. A claim is no event, so `running` is missing.
STATES = ("pending", "retrying", "waiting", "completed", "cancelled", "dead")
# Why a job's state has changed (transitions.reason). `enqueued` and `completed` have no transition.
REASONS = (
    "enqueued", "completed", "failed", "snoozed", "rate_limited", "sleeping", "waiting", "signalled", "timed_out", "released", "rescued",
    "cancelled", "expired", "deadline_exceeded", "permanent_error", "attempts_exhausted", "crash_loop", "given_up", "bad_arguments",
    "bad_result", "bad_step", "undecodable", "unsettleable", "signal_timed_out", "children_failed", "swallowed_suspension",
    "dependency_failed", "not_needed", "results_too_long", "workflow_cancelled", "workflow_failed", "revived", "edited", "undone",
)  # fmt: skip
TYPES = (*STATES, *(reason for reason in REASONS if reason not in STATES))
MEANT = {
    "error": "failed",
    "failure": "failed",
    "retry": "retrying",
    "done": "completed",
    "created": "enqueued",
}

LATE = 10.0  # seconds; each look goes back at least this far
# If a transaction that has written jobs is open for longer, looks go back to its begin, but at most this many seconds.
LATEST = 60.0
MOST = 1000  # events of each kind that one look reads: enqueues, completions, others
POSITION = re.compile(r"([0-9]{1,11}\.[0-9]{6})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a look begins: ``since`` in seconds since 1970, by the database's clock, and the id after which enqueues are new."""

    since: float
    after_id: int

    def __str__(self) -> str:
        return f"{self.since:.6f}-{self.after_id}"

    @classmethod
    def read(cls, text: str) -> Position | None:
        """Returns the position that ``str`` has written. None: the text is none."""
        found = POSITION.fullmatch(text)
        return None if found is None else cls(float(found[1]), int(found[2]))


class Found(NamedTuple):
    """What a look has found. A reader that begins at ``position`` again gets all of ``events`` again; at ``next``, what follows them.

    ``gap``: some of the events before this time were not read, because too many have happened. None: all were read.
    """

    events: list[JobEvent]
    position: Position
    next: Position
    gap: datetime | None


class Tail:
    """Which events a reader has not got yet. ``age``: begin with events that are up to this many seconds old.

    ``position``: begin where another tail has got to; it cannot lie in the future. ``kinds``: reasons or new states.
    """

    def __init__(
        self,
        queue: str | None = None,
        task: str | None = None,
        kinds: list[str] | None = None,
        age: float = 0.0,
        *,
        position: Position | None = None,
        most: int = MOST,
    ) -> None:
        self._chosen = {"queue": queue, "task": task, "kinds": kinds}
        self._age, self._most, self._position = age, most, position
        self._known_until = None if position is None else position.since
        self._marks: list[tuple[float, int]] = []  # the last id at each look
        self._writers: dict[str, float] = {}  # when each open transaction began, or a time before it was seen
        self._seen: dict[tuple[object, ...], float] = {}  # the time of the look that has found it

    def look(self) -> Flow[Found]:
        """The flow of a look (database/flows.py): four statements, and the events that no look has found before, the oldest first."""
        now: float = yield statements.read_clock()
        last_id, _ = yield statements.compare_ids()
        writers = yield statements.list_open_writers()
        begin = self._begin(now, last_id)
        found: list[JobEvent] = yield statements.list_events(
            begin.since,
            begin.after_id,
            most=self._most,
            **self._chosen,  # type: ignore[arg-type]
        )
        fresh = [event for event in found if _key(event) not in self._seen]
        still_open = {name for name, _, _ in writers}
        gap = self._gap(found, [began for name, began in self._writers.items() if name not in still_open])
        self._seen |= dict.fromkeys(map(_key, fresh), now)
        self._position = self._following(begin, now, last_id, writers)
        self._seen = {key: at for key, at in self._seen.items() if at >= self._position.since - LATE}
        self._known_until = now
        return Found(fresh, begin, self._position, gap)

    def _begin(self, now: float, last_id: int) -> Position:
        if self._position is None:
            self._known_until = now - self._age
            return Position(now - self._age, 0 if self._age else last_id)
        return Position(min(self._position.since, now), min(self._position.after_id, last_id))

    def _following(
        self, begin: Position, now: float, last_id: int, writers: list[tuple[str, float | None, float]]
    ) -> Position:
        """Returns where the next look begins: before all that transactions which are open now can still commit."""
        self._writers = {
            name: (self._writers.get(name, now - LATE) if began is None else began)
            for name, began, _ in writers
        }
        floor = max(min([now - LATE, *self._writers.values()]), now - LATEST)
        self._marks.append((now, last_id))
        past = [mark for mark in self._marks if mark[0] <= floor]
        self._marks = past[-1:] + [mark for mark in self._marks if mark[0] > floor]
        after_id = past[-1][1] if past else begin.after_id
        return Position(max(begin.since, floor), max(begin.after_id, after_id))

    def _gap(self, found: list[JobEvent], ended: list[float]) -> datetime | None:
        """Returns the time before which events were not read, although the last look cannot have found them.

        They are newer than the last look, or a transaction has written them that was open then. ``ended``: when these transactions began.
        """
        if any(self._chosen.values()) or self._known_until is None:
            return None  # the filters of the statement hide how much it has read
        kinds: dict[str, list[datetime]] = {}
        for event in found:
            kind = event.reason if event.reason in ("enqueued", "completed") else "other"
            kinds.setdefault(kind, []).append(event.at)
        oldest = [min(times) for times in kinds.values() if len(times) >= self._most]
        known_until = min([self._known_until, *ended])
        return max((at for at in oldest if at.timestamp() > known_until), default=None)


def _key(event: JobEvent) -> tuple[object, ...]:
    return event.job_id, event.at, event.reason, event.to_state
