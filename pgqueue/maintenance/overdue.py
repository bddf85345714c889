"""Finishes overdue jobs. No worker is allowed to run these: they have expired, their deadline has passed, or they were asked to stop.

It also finishes overdue jobs in queues that no worker serves.
"""

from __future__ import annotations

from functools import partial

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.sifting import sift_jobs
from pgqueue.maintenance.searches import search_forever
from pgqueue.model.tally import Tally
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import OverdueJobFinished

# Seconds between two searches. While there is a leader, each overdue job is finished within about this time.
OVERDUE_PAUSE = 1.5
OVERDUE_AT_ONCE = 500


async def finish_overdue_forever(link: Link, tally: Tally) -> None:
    """Finishes overdue jobs again and again until it is cancelled.

    It does no harm if an overdue job is found late, because no claim takes overdue jobs.
    """
    await search_forever(
        "the search for overdue jobs", partial(finish_overdue_once, tally=tally), link, OVERDUE_PAUSE
    )


async def finish_overdue_once(link: Link, tally: Tally) -> bool:
    """Finishes up to OVERDUE_AT_ONCE overdue jobs, and counts them. Returns whether there can be more overdue jobs."""
    finished = await sift_jobs(
        link.once,
        statements.finish_overdue(OVERDUE_AT_ONCE),
        statements.choose_overdue(OVERDUE_AT_ONCE),
        lambda only: statements.finish_overdue(OVERDUE_AT_ONCE, only),
    )
    for job in finished:
        tally.ended(job.queue, job.task, job.state)
        emit(OverdueJobFinished(job.id, job.task, job.state, job.reason))
    return len(finished) >= OVERDUE_AT_ONCE
