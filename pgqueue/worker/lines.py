"""The line that ``--log-jobs`` writes for a job that has ended."""

from __future__ import annotations

import logging

from pgqueue.model.job import FINAL
from pgqueue.model.outcome import Outcome
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt

log = logging.getLogger("pgqueue")


def log_job(attempt: Attempt, outcome: Outcome | None) -> None:
    """Logs one line for an attempt that ended without an error; the runner's ``report`` logs the others."""
    if outcome is None and not attempt.settled:
        return  # it was lost
    if outcome is not None and (outcome.error is not None or outcome.state not in FINAL):
        return
    state = "completed" if outcome is None else outcome.state
    took = monotonic() - (attempt.started_at or attempt.claimed_at)
    log.info(
        "job %d (%s) %s in %.4f s, attempt %d of %d, queue %s",
        attempt.id, attempt.task, state, took, attempt.attempt, attempt.max_attempts, attempt.queue,
        extra={"job_id": attempt.id, "task": attempt.task, "queue": attempt.queue, "attempt": attempt.attempt, "seconds": took},
    )  # fmt: skip
