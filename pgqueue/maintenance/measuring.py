"""Measures the whole queue for metrics: how many jobs wait, how old the oldest due job is, and how many workers live.

Only the leader does this regularly. Otherwise each of N workers would report the same numbers. It measures only if a subscriber wants them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.statements.queues import QueueCount
from pgqueue.database.statements.server import SystemNumbers
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.maintenance import Measured, QueueMeasured

EVERY = 15.0  # seconds between two measurements
TIMES_ITS_DURATION = 20  # a pause is at least this many times as long as the measurement before it
WINDOW = 60.0  # seconds over which the pace of a queue is averaged


class Drains:
    """Remembers how many jobs of each queue were due in the last minute, and estimates when none will be due."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def note(self, queues: Sequence[QueueMeasured], now: float) -> dict[str, float]:
        """Returns the estimate of each queue in seconds: infinite if a queue does not become shorter.

        A queue whose pace is not known yet is left out.
        """
        due = {numbers.queue: numbers.due for numbers in queues}
        while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW:
            self._looks.popleft()
        estimates = {queue: 0.0 for queue, count in due.items() if not count}
        if self._looks:
            then, before = self._looks[0]
            for queue, count in due.items():
                if count and queue in before:
                    fewer = before[queue] - count
                    estimates[queue] = count * (now - then) / fewer if fewer > 0 else math.inf
        self._looks.append((now, due))
        return estimates


class Measuring:
    """A service of the leader."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def run(self) -> None:
        """Measures again and again until it is cancelled."""
        self._drains = Drains()
        try:
            await forever("the measurement of the queues", self._turn)
        finally:
            await self._link.close()

    async def _turn(self) -> float:
        if not has_subscribers(Measured):
            return EVERY
        begun = monotonic()
        found = measured([await self._link.once(statement) for statement in measurement()])
        now = monotonic()
        pause = max(EVERY, TIMES_ITS_DURATION * (now - begun))
        drains = self._drains.note(found.queues, now)
        queues = tuple(one._replace(drain_time=drains.get(one.queue)) for one in found.queues)
        emit(found._replace(queues=queues, valid_until=now + 3 * pause))
        return pause


def measurement() -> list[Statement[Any]]:
    """Returns the statements of one measurement. ``measured`` takes their answers, in the same order."""
    return [
        statements.count_queues(),
        statements.count_dead(),
        statements.watch_queues(),
        statements.measure_system(),
        statements.measure_tables(),
    ]


def measured(answers: Sequence[Any]) -> Measured:
    """Returns the answers of ``measurement`` as one fact, without an estimate of the drain times, and valid for ever."""
    counts: list[QueueCount] = answers[0]
    dead: dict[str, int] = answers[1]
    oldest: dict[str, float] = {}
    for front in answers[2]:
        oldest[front.queue] = max(front.age, oldest.get(front.queue, 0.0))
    system: SystemNumbers = answers[3]
    queues = [
        QueueMeasured(
            one.queue, one.due, one.scheduled, one.waiting, one.running, dead.pop(one.queue, 0),
            oldest.get(one.queue, one.oldest_due), None,
        )
        for one in counts
    ]  # fmt: skip
    queues += [QueueMeasured(queue, 0, 0, 0, 0, count, None, None) for queue, count in dead.items()]
    tables = tuple((table.name, table.dead) for table in answers[4])
    return Measured(
        tuple(queues), system.workers, system.slots, system.slots_taken, system.cron_lag, tables, math.inf
    )
