"""Measures the whole queue for metrics: how many jobs wait, how old the oldest due job is, and how many workers live.

Only the leader does this regularly. Otherwise each of N workers would report the same numbers. It measures only if a subscriber wants them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.statements.queues import QueueCount
from pgqueue.database.statements.server import SystemNumbers
from pgqueue.database.statements.stats import QueueDrain
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.maintenance import Measured, QueueMeasured

EVERY = 15.0  # seconds between two measurements
TIMES_ITS_DURATION = 20  # a pause is at least this many times as long as the measurement before it


class Measuring:
    """A service of the leader."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def run(self) -> None:
        """Measures again and again until it is cancelled."""
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
        emit(found._replace(valid_until=now + 3 * pause))
        return pause


def measurement() -> list[Statement[Any]]:
    """Returns the statements of one measurement. ``measured`` takes their answers, in the same order."""
    return [
        statements.count_queues(),
        statements.count_dead(),
        statements.watch_queues(),
        statements.measure_system(),
        statements.measure_tables(),
        statements.estimate_drain(),
    ]


def measured(answers: Sequence[Any]) -> Measured:
    """Returns the answers of ``measurement`` as one fact, valid for ever."""
    counts: list[QueueCount] = answers[0]
    dead: dict[str, int] = answers[1]
    oldest: dict[str, float] = {}
    for front in answers[2]:
        oldest[front.queue] = max(front.age, oldest.get(front.queue, 0.0))
    system: SystemNumbers = answers[3]
    drains: dict[str, float | None] = {drain.queue: _drain_time(drain) for drain in answers[5]}
    queues = [
        QueueMeasured(
            one.queue, one.due, one.scheduled, one.waiting, one.running, dead.pop(one.queue, 0),
            oldest.get(one.queue, one.oldest_due), drains.get(one.queue, None if one.due else 0.0),
        )
        for one in counts
    ]  # fmt: skip
    queues += [QueueMeasured(queue, 0, 0, 0, 0, count, None, None) for queue, count in dead.items()]
    tables = tuple((table.name, table.dead) for table in answers[4])
    return Measured(
        tuple(queues), system.workers, system.slots, system.slots_taken, system.cron_lag, tables, math.inf
    )


def _drain_time(drain: QueueDrain) -> float | None:
    """Returns the seconds until no job is due: infinite if the queue does not become shorter. None: its pace is not known yet."""
    return drain.seconds if drain.trend in ("empty", "draining", "unknown") else math.inf
