"""The errors of attempts. The tree in ``pgqueue/errors/__init__.py`` says what each of them means."""

from __future__ import annotations

import shlex

from pgqueue.errors.base import PgQueueError


class AttemptError(PgQueueError):
    """An error of one attempt. The worker writes it into the job's ``last_error``, or raises it inside the handler."""


class LeaseLostError(AttemptError):
    """This worker no longer has the lease of the job. From now on, the database ignores all that the worker writes for the job."""

    code = "PGQ-601"

    def __init__(self, job_id: int, lease_id: int) -> None:
        super().__init__(
            f"The lease {lease_id} on job {job_id} is lost.",
            why="the worker did not renew it in time, and another worker can be running the job now",
            do="stop; a job with a lost lease is run again",
        )
        self.job_id = job_id
        self.lease_id = lease_id


class ProcessDiedError(AttemptError):
    code = "PGQ-602"


class LoopBlockedError(AttemptError):
    code = "PGQ-608"


class JobTimeoutError(AttemptError):
    code = "PGQ-603"


class UndecodableJobError(AttemptError):
    code = "PGQ-604"


class DeadlineExceededError(AttemptError):
    code = "PGQ-605"


class WrongOutcomesError(AttemptError):
    code = "PGQ-609"


class BadResultError(AttemptError):
    code = "PGQ-610"


class StepError(AttemptError):
    """A step of a handler was not done or not stored, and another attempt would not change that."""


class CheckpointMismatchError(StepError):
    """A step has a checkpoint that does not fit this call of the step. ``name`` and ``key``: the name and the key of the step."""

    code = "PGQ-611"

    def __init__(self, what: str, *, job_id: int, name: str, key: str, why: str) -> None:
        step = " ".join([shlex.quote(text) for text in (name, key) if text])
        super().__init__(
            what,
            why=why,
            do=f"if the step must be done again: pgq jobs forget-step {job_id} {step}; pgq jobs revive {job_id}",
        )
        self.job_id, self.name, self.key = job_id, name, key


class DuplicateStepError(StepError):
    code = "PGQ-612"


class StepTooLargeError(StepError):
    code = "PGQ-613"


class StepRefusedError(StepError):
    code = "PGQ-614"
