"""A job as people see it: its secret values are masked (redaction.py). Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pgqueue.model.hooks import EVENTS
from pgqueue.model.job import Job
from pgqueue.model.redaction import (
    NAMES,
    Names,
    Redaction,
    masked,
    redacted,
    redacted_key,
    redacted_text,
    secrets,
)

CLASS = re.compile(r"[A-Za-z_][\w.]{0,99}", re.ASCII)
OF_HOOK = re.compile(rf":on_(?:{'|'.join(EVENTS)})\Z")


def redaction_of(task: str, stored: Any) -> Redaction:
    """Returns what is secret in jobs of a task. ``stored``: the declaration of the task, or, for the jobs of a hook, of the hook's task."""
    found = Redaction.of_json(stored)
    return of_hook(found) if OF_HOOK.search(task) else found


def of_hook(redaction: Redaction) -> Redaction:
    """Returns what is secret in the jobs of a task's hooks. Their arguments contain the row of the job of the task."""
    return redaction.within(args=("job", "args"), result=("job", "result"))


def secrets_of(
    args: Any, result: Any, meta: Any, redaction: Redaction, names: Names = NAMES
) -> frozenset[str]:
    """Returns the secret values in the arguments, the result and the meta of a job."""
    values = secrets(args, redaction.args, names) | secrets(result, redaction.result, names)
    return values | secrets(meta, (), names)


def shown_job(job: Job, redaction: Redaction, names: Names = NAMES) -> Job:
    """Returns the job with MASK in the place of each secret value: in its arguments, result, meta, keys, errors and progress."""
    values = secrets_of(job.args, job.result, job.meta, redaction, names)

    def text(said: str | None) -> str | None:
        return said and masked(said, values)

    return replace(
        job,
        args=redacted_text(job.args, redaction.args, names),
        result=redacted(job.result, redaction.result, names),
        meta=redacted_text(job.meta, (), names),
        progressed=redacted(_message_masked(job.progressed, values), (), names),
        unique_key=text(redacted_key(job.unique_key, redaction.args, names)),
        concurrency_key=text(job.concurrency_key),
        tags=tuple(masked(tag, values) for tag in job.tags),
        last_error=text(job.last_error),
        last_traceback=text(job.last_traceback),
    )


def without_texts(job: Job) -> Job:
    """Returns the job without the texts in which values of its documents can stand. Of its error, the class is left."""
    head, colon, _ = (job.last_error or "").partition(":")
    error = f"{head}: …" if colon and CLASS.fullmatch(head) else "…"
    progress = job.progressed
    if isinstance(progress, dict):
        progress = {name: value for name, value in progress.items() if name != "message"}
    return replace(job, tags=(), last_error=job.last_error and error, progressed=progress)


def _message_masked(progress: Any, values: frozenset[str]) -> Any:
    if isinstance(progress, dict) and isinstance(progress.get("message"), str):
        return {**progress, "message": masked(progress["message"], values)}
    return progress
