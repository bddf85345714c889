"""Makes the ``TaskResult`` of the framework from a job and what has happened to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from traceback import format_exception
from typing import Any

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.jobs import Transition
from pgqueue.integrations.django.application import in_djangos_thread, own
from pgqueue.integrations.django.tasks.framework import Framework
from pgqueue.model.job import Job
from pgqueue.text.described import TRACEBACK_LIMIT, clean
from pgqueue.text.values import is_id

META = "django"  # the key in a job's meta under which the backend keeps what only the framework knows
STATUSES = {
    "pending": "READY", "retrying": "READY", "waiting": "READY", "running": "RUNNING", "completed": "SUCCESSFUL", "dead": "FAILED",
    "cancelled": "FAILED",
}  # fmt: skip
NO_ATTEMPTS = ("released", "snoozed")  # reasons of transitions after which the attempt is not counted


def made(backend: Any, task: Any, job_id: int, enqueued_at: datetime | None, args: Any, kwargs: Any) -> Any:
    """Returns the result of a task that was enqueued now."""
    base = backend.framework.base
    return base.TaskResult(
        task=task,
        id=str(job_id),
        status=base.TaskResultStatus.READY,
        enqueued_at=enqueued_at,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=args,
        kwargs=kwargs,
        backend=backend.alias,
        errors=[],
        worker_ids=[],
    )


def read(result_id: object) -> tuple[Job, list[Transition]] | None:
    """Returns the job with this id, and its transitions. None: there is no such job, or the text is no id."""
    text = str(result_id)
    if not is_id(text):
        return None
    with own() as connection:
        job = run(connection, statements.get_job(int(text), reveal=True))
        if job is None:
            return None
        return job, run(connection, statements.list_transitions(job.id, reveal=True))


def of_job(backend: Any, task: Any, job: Job, happened: Sequence[Transition]) -> Any:
    """Returns the result as the rows of the database say it."""
    frame: Framework = backend.framework
    ended = [one for one in happened if one.from_state == "running" and one.reason not in NO_ATTEMPTS]
    workers = [str(one.worker_id) for one in ended if one.worker_id is not None]
    if len(workers) < job.attempt and job.worker_id is not None:
        workers.append(str(job.worker_id))
    workers += ["unknown"] * (job.attempt - len(workers))
    known = _known(job)
    result = made(
        backend, as_enqueued(backend, task, job), job.id, _moment(known.get("enqueued_at")) or job.created_at,
        job.args.get("args", []), job.args.get("kwargs", {}),
    )  # fmt: skip
    change(
        result,
        status=frame.base.TaskResultStatus[STATUSES[job.state]],
        started_at=_moment(known.get("started_at")) or job.started_at,
        last_attempted_at=job.started_at,
        finished_at=job.finished_at,
        worker_ids=workers[: job.attempt] if job.attempt else [],
        errors=[
            frame.base.TaskError(exception_class_path=_path(one), traceback=one.traceback or one.error)
            for one in ended
            if one.error
        ],
    )
    if job.state == "completed":
        change(result, _return_value=job.result)
    return result


def of_attempt(backend: Any, task: Any, job: Job) -> Any:
    """Returns the result of a job that runs now, for its context and signals. A first attempt needs no query."""
    happened: list[Transition] = []
    if job.attempt > 1:
        with own() as connection:
            happened = run(connection, statements.list_transitions(job.id, reveal=True))
    return of_job(backend, task, job, happened)


async def aof_attempt(backend: Any, task: Any, job: Job) -> Any:
    """``of_attempt`` for async callers."""
    if job.attempt <= 1:
        return of_job(backend, task, job, [])
    return await in_djangos_thread(of_attempt, backend, task, job)


def as_enqueued(backend: Any, task: Any, job: Job) -> Any:
    """Returns the task with the options with which it was enqueued. What the backend no longer allows is left out."""
    run_after = _moment(_known(job).get("run_after"))
    try:
        return task.using(
            priority=max(-100, min(100, -job.priority)), queue_name=job.queue, run_after=run_after, backend=backend.alias
        )  # fmt: skip
    except backend.framework.exceptions.TaskException:
        return task


def error_of(frame: Framework, error: BaseException) -> Any:
    """Returns the ``TaskError`` of an exception, as the framework's own backends make it."""
    text = "".join(format_exception(error))
    kind = type(error)
    return frame.base.TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}", traceback=clean(text, TRACEBACK_LIMIT)
    )


def change(result: Any, **values: Any) -> None:
    """Changes attributes of a result, which is frozen for its users."""
    for name, value in values.items():
        object.__setattr__(result, name, value)


def _known(job: Job) -> dict[str, Any]:
    found = job.meta.get(META)
    return found if isinstance(found, dict) else {}


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _path(failed: Transition) -> str:
    """Returns the path of the class of an error. The row has its name, and the last line of the traceback has its module, too."""
    name = (failed.error or "Exception").partition(":")[0].strip()
    line = rf"^((?:\w+\.)*{re.escape(name)})(?::|$)"
    found = re.findall(line, failed.traceback or "", re.MULTILINE)
    path: str = found[-1] if found else name
    return path if "." in path else f"builtins.{path}"
