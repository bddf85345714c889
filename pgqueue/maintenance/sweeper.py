"""Finishes jobs that no worker may run now or later, also in queues that no worker serves: expired, past their deadline, cancelled late."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.sifting import sift_jobs
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import JobSwept

PAUSE = 1.5  # seconds; a job is finished at most so late, if a worker leads
SPARING = 5  # times its duration between two sweeps that an old snapshot makes dear: no claim takes those jobs in any case
BATCH = 500


async def sweep_forever(link: Link) -> None:
    """Goes on until it is cancelled."""

    async def turn() -> float:
        begun = monotonic()
        full = await sweep_once(link)
        return 0 if full else max(PAUSE, SPARING * (monotonic() - begun))

    await forever("the sweep", turn)


async def sweep_once(link: Link) -> bool:
    """Whether there may be more."""
    swept = await sift_jobs(
        link.once,
        statements.sweep(BATCH),
        statements.choose_overdue(BATCH),
        lambda only: statements.sweep(BATCH, only),
    )
    for job in swept:
        emit(JobSwept(job.id, job.task, job.state, job.reason))
    return len(swept) >= BATCH
