"""The errors of attempts. The tree in ``pgqueue/errors/__init__.py`` says what each of them means."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from pgqueue.errors.base import PgQueueError
from pgqueue.text.counted import count


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


class SignalTimeoutError(AttemptError):
    """No signal has come within the time-out of ``job.wait_for``. ``names``: the signals for which the job waited."""

    code = "PGQ-615"

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(
            f"No signal {' or '.join(map(ascii, names))} has come in time.",
            do="to let the job go on without the signal, catch this error, or give wait_for() a default=",
        )
        self.names = names


class ChildrenFailedError(AttemptError):
    """Children of ``job.gather`` did not complete. ``ends``: how each of its children ended, in order, as NodeEnd objects.

    ``workflow_id``: the workflow that consists of these children.
    """

    code = "PGQ-617"

    def __init__(self, name: str, workflow_id: int, ends: Sequence[Any]) -> None:
        failed = [end for end in ends if end.state != "completed"]
        why = next((f"job {end.id}: {end.error.splitlines()[0]}" for end in failed if end.error), "")
        super().__init__(
            f"{len(failed)} of {count(len(ends), 'child', 'children')} of {name} did not complete.",
            why=why,
            do=f'to run them again, and then this job: pgq workflows retry {workflow_id}; to go on without them: gather(…, failures="return")',
        )
        self.workflow_id, self.ends = workflow_id, ends


class SwallowedSuspensionError(AttemptError):
    code = "PGQ-616"


class StepError(AttemptError):
    """A step of a handler was not done or not stored, and another attempt would not change that."""


class CheckpointMismatchError(StepError):
    """A step has a checkpoint that does not fit this call of the step. ``name`` and ``key``: the name and the key of the step.

    ``stored_by``: the version of the task that stored the checkpoint. ``version``: the version of the task now. Each is None if the task had
    no version.
    """

    code = "PGQ-611"

    def __init__(
        self,
        what: str,
        *,
        job_id: int,
        name: str,
        key: str,
        why: str,
        stored_by: int | None = None,
        version: int | None = None,
    ) -> None:
        step = " ".join([shlex.quote(text) for text in (name, key) if text])
        again = (
            f"if the step must be done again: pgq jobs forget-step {job_id} {step}; pgq jobs revive {job_id}"
        )
        if stored_by is not None and version is not None and stored_by != version:
            again = (
                f"if version {stored_by} must go on with the job: take {stored_by} out of accepts, start a worker with the code of version"
                f" {stored_by}, and: pgq jobs revive {job_id}; {again}"
            )
        super().__init__(what, why=why, do=again)
        self.job_id, self.name, self.key = job_id, name, key
        self.stored_by, self.version = stored_by, version


class DuplicateStepError(StepError):
    code = "PGQ-612"


class StepTooLargeError(StepError):
    code = "PGQ-613"


class StepRefusedError(StepError):
    code = "PGQ-614"
