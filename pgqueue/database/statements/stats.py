"""The statements of ``pgqueue.stats``: what happened to attempts in each minute, and what is derived from it. Also cheap counts of jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.sql import Statement

MOST_ROWS = 2000  # a series or a list of sums has at most this many rows
COUNTED = 10_000  # up to this many jobs of a state are counted exactly
RECENT = 300.0  # an estimate of a drain looks back at this many seconds
MEASURED = 20.0  # seconds of work below which a drain is not estimated
STEADY = 0.05  # a queue neither grows nor drains if its rates differ by at most this share

By = Literal["queue", "task"]
Trend = Literal["empty", "draining", "steady", "growing", "idle", "unknown"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to attempts. Times are in seconds, and None if there was no such time. The p50, p95 and p99 are estimates.

    ``started``: attempts that were claimed. ``retried``: failed, and another attempt follows. ``put_back``: snoozed, suspended or released.
    ``crashed``: ended by the end of a process; these also count as retried, dead or cancelled.
    ``wait``: from the moment when a job was due until its claim. ``run``: from the call of its handler to the end of the call.
    """

    started: int
    completed: int
    retried: int
    dead: int
    cancelled: int
    put_back: int
    crashed: int
    wait_mean: float | None
    wait_p50: float | None
    wait_p95: float | None
    wait_p99: float | None
    run_mean: float | None
    run_p50: float | None
    run_p95: float | None
    run_p99: float | None


@dataclass(frozen=True, slots=True)
class StatsPoint:
    """The counts of one step of a series. ``queue`` and ``task`` are None if the series is not divided by them."""

    at: datetime
    queue: str | None
    task: str | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class StatsSum:
    """The counts of a window of ``seconds``. ``queue`` and ``task`` are None if the sum is not divided by them."""

    queue: str | None
    task: str | None
    seconds: float
    counts: Counts

    @property
    def per_second(self) -> float:
        """Completed jobs a second."""
        return self.counts.completed / self.seconds


@dataclass(frozen=True, slots=True)
class QueueDrain:
    """How fast a queue drains.

    ``due``: its due jobs; an estimate unless ``is_exact``. ``measured``: how many seconds the two rates are about. ``started_per_second`` and
    ``arrived_per_second``: the jobs that were started and that became due in this time. These three are None if no job was started lately.
    """

    queue: str
    due: int
    is_exact: bool
    paused: bool
    measured: float | None
    started_per_second: float | None
    arrived_per_second: float | None

    @property
    def trend(self) -> Trend:
        """``idle``: jobs are due, but none was started lately. ``unknown``: the first start is less than MEASURED seconds ago."""
        if not self.due:
            return "empty"
        if self.measured is None or self.started_per_second is None or self.arrived_per_second is None:
            return "idle"
        if self.measured < MEASURED:
            return "unknown"
        gain = self.started_per_second - self.arrived_per_second
        if abs(gain) <= STEADY * self.started_per_second:
            return "steady"
        return "draining" if gain > 0 else "growing"

    @property
    def seconds(self) -> float | None:
        """Seconds until no job of the queue is due, if both rates stay as they are. None: the queue does not drain, or it is not known."""
        if self.trend == "empty":
            return 0.0
        if self.trend != "draining" or self.started_per_second is None or self.arrived_per_second is None:
            return None
        return self.due / (self.started_per_second - self.arrived_per_second)


@dataclass(frozen=True, slots=True)
class StateCount:
    """The number of jobs in a state. ``due`` and ``scheduled`` are parts of ``pending`` and ``retrying``. An estimate unless ``is_exact``."""

    state: str
    count: int
    is_exact: bool


def add_stats(deltas: Sequence[Mapping[str, object]]) -> Statement[float]:
    """Adds counts of attempts, and returns the database's time in epoch seconds.

    No two of the deltas have the same ``at`` (a minute, in epoch seconds), ``queue`` and ``task``. If a lock is not free within 50 ms, the
    server raises an error.
    """
    return statement("add_stats", one, deltas=json.dumps(deltas))


def roll_up_stats(age: float, count: int) -> Statement[int]:
    """Turns up to ``count`` rows of minutes into hours if they are older than ``age`` seconds. Returns how many rows it took."""
    return statement("roll_up_stats", one, age=age, count=count)


def roll_up_totals(short: int, long: int, age: float, count: int) -> Statement[int]:
    """Turns up to ``count`` totals of ``short`` seconds into totals of ``long`` seconds if they are older than ``age`` seconds."""
    return statement("roll_up_totals", one, short=short, long=long, age=age, count=count)


def purge_stats(age: float, count: int) -> Statement[int]:
    """Deletes up to ``count`` rows of hours that are older than ``age`` seconds. Returns how many rows it deleted."""
    return statement("purge_stats", one, age=age, count=count)


def list_stats(
    since: datetime,
    until: datetime,
    step: int,
    *,
    by: Sequence[By] = (),
    queue: str | None = None,
    task: str | None = None,
    count: int = MOST_ROWS,
) -> Statement[list[StatsPoint]]:
    """Returns a series in steps of ``step`` seconds (60 or more), divided as ``by`` says. Steps without attempts are left out.

    Returns the newest ``count`` rows if there are more, in the order of time.
    """
    return statement(
        "list_stats",
        lambda rows: [StatsPoint(row[0], row[1], row[2], Counts(*row[3:])) for row in reversed(rows)],
        since=since,
        until=until,
        step=max(step, 60),
        by_queue="queue" in by,
        by_task="task" in by,
        queue=queue,
        task=task,
        count=count,
    )


def sum_stats(
    since: datetime,
    until: datetime,
    *,
    by: Sequence[By] = (),
    queue: str | None = None,
    task: str | None = None,
    count: int = MOST_ROWS,
) -> Statement[list[StatsSum]]:
    """Sums a window, divided as ``by`` says, the busiest first. The window begins with the minute that contains ``since``."""
    return statement(
        "sum_stats",
        lambda rows: [StatsSum(row[0], row[1], row[2], Counts(*row[3:])) for row in rows],
        since=since,
        until=until,
        by_queue="queue" in by,
        by_task="task" in by,
        queue=queue,
        task=task,
        count=count,
    )


def estimate_drain(seconds: float = RECENT, *, queue: str | None = None) -> Statement[list[QueueDrain]]:
    """Returns, for each queue with due jobs or with starts in the last ``seconds``, how fast it drains. ``queue``: only this queue."""
    return statement("estimate_drain", each(QueueDrain), seconds=seconds, queue=queue)


def count_live(most: int = COUNTED) -> Statement[list[StateCount]]:
    """Counts all jobs by state at a bounded cost: up to ``most`` jobs of a state exactly, above that by an estimate."""
    return statement("count_live", each(StateCount), most=most)
