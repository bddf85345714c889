"""Finds the secret values of a job, and masks them in its error and traceback before they are logged and stored."""

from __future__ import annotations

import json
from dataclasses import replace

from pgqueue.config import secret_names
from pgqueue.errors import PgQueueError
from pgqueue.model.outcome import Outcome
from pgqueue.model.redaction import NAMES, secrets
from pgqueue.model.task import TaskSpec
from pgqueue.telemetry.job_context import Running, running


def masked_outcome(attempt: Running, outcome: Outcome) -> Outcome:
    """Returns the outcome of the attempt with MASK in its error and traceback, in the place of each secret value of the job."""
    if outcome.error is None:
        return outcome
    here = running.get()

    def mask(text: str) -> str:
        text = attempt.mask(text)
        # the error of a chunk can contain values of its other jobs
        return text if here is None or here is attempt else here.mask(text)

    return replace(
        outcome, error=mask(outcome.error), traceback=outcome.traceback and mask(outcome.traceback)
    )


def secret_values(spec: TaskSpec, args: str) -> frozenset[str]:
    """Returns the secret values in the arguments of a job. Raises no error."""
    try:
        arguments = json.loads(args)
    except (ValueError, RecursionError):
        return frozenset()  # nobody can decode such arguments, so no handler gets them
    try:
        paths, names = spec.redaction.args, secret_names()
    except PgQueueError:
        paths, names = (), NAMES
    return secrets(arguments, paths, names)
