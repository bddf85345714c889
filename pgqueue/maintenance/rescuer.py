"""Rescues the running jobs of workers whose lease has run out. The worker that rescues these jobs need not know their tasks."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.sifting import sift_jobs
from pgqueue.model.tally import Tally
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.maintenance import CrashLoopEnded, JobsRescued, JobStalled

RESCUES_AT_ONCE = 500


async def rescue_all(link: Link, crash_limit: int, tally: Tally) -> int:
    """Rescues up to RESCUES_AT_ONCE jobs at a time, until none is left. Counts them. Returns the number of rescued jobs."""
    total = 0
    while True:
        rescued = await sift_jobs(
            link.once,
            statements.rescue(crash_limit, RESCUES_AT_ONCE),
            statements.choose_rescues(RESCUES_AT_ONCE),
            lambda only: statements.rescue(crash_limit, RESCUES_AT_ONCE, only),
        )
        total += len(rescued)
        for job in rescued:
            tally.ended(job.queue, job.task, job.state, crashed=True)
            if has_subscribers(JobStalled):
                emit(JobStalled(job.id, job.task, job.worker_id, job.state))
            if job.state == "dead":
                emit(CrashLoopEnded(job.id, job.task))
        if rescued:
            emit(JobsRescued(len(rescued), tuple(sorted({job.worker_id for job in rescued}))))
        if len(rescued) < RESCUES_AT_ONCE:
            return total
