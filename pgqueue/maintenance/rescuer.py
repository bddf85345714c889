"""Takes back the jobs of workers whose lease ran out, whether or not this worker knows their tasks."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.sifting import sift_jobs
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import CrashLoopEnded, JobsRescued

BATCH = 500


async def rescue_all(link: Link, crash_limit: int) -> int:
    """Rescues in bounded batches until none is left; returns how many jobs."""
    total = 0
    while True:
        rescued = await sift_jobs(
            link.once,
            statements.rescue(crash_limit, BATCH),
            statements.choose_lost(BATCH),
            lambda only: statements.rescue(crash_limit, BATCH, only),
        )
        total += len(rescued)
        for job in rescued:
            if job.state == "dead":
                emit(CrashLoopEnded(job.id, job.task))
        if rescued:
            emit(JobsRescued(len(rescued), tuple(sorted({job.worker_id for job in rescued}))))
        if len(rescued) < BATCH:
            return total
