"""What statements return of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


class Stored(NamedTuple):
    """What became of one enqueued item; ``conflict`` names the key that an existing job ``id`` holds.

    ``result`` and ``error`` are that job's, if it is finished.
    """

    id: int
    created: bool
    state: str | None
    conflict: str | None
    result: Any = None
    error: str | None = None


class Round(NamedTuple):
    """What a claim by turns found, in their order: rows of ``claim``, the key whose turn each was, and a place in front of which none is left."""

    rows: list[Sequence[Any]]
    turns: list[str]
    since: str | None


@dataclass(frozen=True, slots=True)
class Lanes:
    """What there is to claim. ``lanes``: queue and priority, with the seconds until the first job is due (negative: overdue).

    ``keyed``: lanes of jobs with keys, with the place of the first one. ``limited``: queues under limits that are not by key, None for any. ``later``: seconds until
    the next job with a key is due, or a seat under a rate is free; None if neither is known.
    """

    lanes: dict[tuple[str, int], float]
    keyed: dict[tuple[str, int], str]
    limited: list[str | None]
    later: float | None


@dataclass(frozen=True, slots=True)
class Rescued:
    id: int
    task: str
    state: str
    worker_id: int


@dataclass(frozen=True, slots=True)
class Swept:
    """A job that no worker may run now or later: expired, past its deadline, or asked to stop."""

    id: int
    task: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Transition:
    at: datetime
    from_state: str
    to_state: str
    reason: str
    attempt: int
    lease_id: int
    worker_id: int | None
    run_at: datetime | None
    error: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """What happened to a job, by the view job_timeline; the worker's host and pid as far as its row is still there."""

    at: datetime | None
    from_state: str | None
    to_state: str
    reason: str
    attempt: int
    worker_id: int | None
    host: str | None
    pid: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many jobs share these; None for what was not asked by, or of jobs without a tag."""

    task: str | None
    queue: str | None
    state: str | None
    tag: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is not running: one word for programs, a sentence for people, and what is known of its end.

    ``until`` is when the reason ends, ``ahead`` how many due jobs come first (counted to 10,000), ``do`` a command that helps.
    """

    reason: str
    sentence: str
    until: datetime | None
    ahead: int | None
    do: str | None
