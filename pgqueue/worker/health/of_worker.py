"""The vital signs of one worker, and how its health looks from outside."""

from __future__ import annotations

from collections.abc import Callable

from pgqueue.config import WorkerSettings
from pgqueue.database.outage import Outage
from pgqueue.worker.health.vital_signs import Sign, VitalSigns, loop_limit

# A claimer that asks the database is expected to be back after two time limits of a statement and this many seconds for a new connection.
CONNECTING = 20.0

Mark = Callable[[], object]


def signs_of_worker(
    settings: WorkerSettings,
    outage: Outage,
    statement_limit: float,
    *,
    loop: Mark,
    claimer: Mark,
    heartbeat: Mark,
) -> VitalSigns:
    """``loop``, ``claimer`` and ``heartbeat`` are the marks of these parts."""

    def unless_cut_off(mark: Mark) -> Mark:
        """During an outage, a part waits for the database, and no restart of the worker ends that. So it rests."""
        return lambda: None if outage.since is not None else mark()

    return VitalSigns(
        Sign("loop", loop, loop_limit(settings.blocked)),
        Sign("claimer", unless_cut_off(claimer), 2 * statement_limit + CONNECTING),
        Sign("heartbeat", unless_cut_off(heartbeat), settings.lease * 2 / 3),
    )
