"""Masks the secret values of a job in its error and traceback before they are logged and stored."""

from __future__ import annotations

import json
from dataclasses import replace

from pgqueue.config import secret_names
from pgqueue.errors import PgQueueError
from pgqueue.model.outcome import Outcome
from pgqueue.model.redaction import NAMES, masked, secrets
from pgqueue.model.task import TaskSpec
from pgqueue.worker.attempt import Attempt


def masked_outcome(spec: TaskSpec, attempt: Attempt, outcome: Outcome) -> Outcome:
    """Returns the outcome with MASK in its error and traceback, in the place of each secret value in the arguments of the job."""
    if outcome.error is None:
        return outcome
    values = secret_values(spec, attempt)
    if not values:
        return outcome
    traceback = outcome.traceback and masked(outcome.traceback, values)
    return replace(outcome, error=masked(outcome.error, values), traceback=traceback)


def secret_values(spec: TaskSpec, attempt: Attempt) -> frozenset[str]:
    """Returns the secret values in the arguments of a job. Raises no error."""
    try:
        arguments = json.loads(attempt.args)
    except (ValueError, RecursionError):
        return frozenset()  # nobody can decode such arguments, so no handler gets them
    try:
        paths, names = spec.redaction.args, secret_names()
    except PgQueueError:
        paths, names = (), NAMES
    return secrets(arguments, paths, names)
