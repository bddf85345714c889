"""Finishes overdue jobs. No worker is allowed to run these: they have expired, their deadline has passed, or they were asked to stop.

It also finishes overdue jobs in queues that no worker serves.
"""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.sifting import sift_jobs
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import OverdueJobFinished

# Seconds between two searches. While there is a leader, each overdue job is finished within about this time.
OVERDUE_PAUSE = 1.5
# While an old snapshot keeps dead entries in the indexes, a search takes long. The pause after a search is at least this many times as long
# as the search. It does no harm if an overdue job is found late, because no claim takes overdue jobs.
TIMES_ITS_DURATION = 5
OVERDUE_AT_ONCE = 500


async def finish_overdue_forever(link: Link) -> None:
    """Finishes overdue jobs again and again until it is cancelled."""

    async def turn() -> float:
        begun = monotonic()
        full = await finish_overdue_once(link)
        return 0 if full else max(OVERDUE_PAUSE, TIMES_ITS_DURATION * (monotonic() - begun))

    await forever("the search for overdue jobs", turn)


async def finish_overdue_once(link: Link) -> bool:
    """Finishes up to OVERDUE_AT_ONCE overdue jobs. Returns whether there can be more overdue jobs."""
    finished = await sift_jobs(
        link.once,
        statements.finish_overdue(OVERDUE_AT_ONCE),
        statements.choose_overdue(OVERDUE_AT_ONCE),
        lambda only: statements.finish_overdue(OVERDUE_AT_ONCE, only),
    )
    for job in finished:
        emit(OverdueJobFinished(job.id, job.task, job.state, job.reason))
    return len(finished) >= OVERDUE_AT_ONCE
