"""``POST /jobs`` and ``POST /jobs:batch``: a request commits alone, so it is not part of a transaction of the caller."""

from __future__ import annotations

import json
from collections.abc import Sequence

from psycopg import AsyncConnection

from pgqueue.app.app import App
from pgqueue.app.enqueue import bad_items
from pgqueue.app.handle import JobHandle, handles
from pgqueue.app.storing import accepted
from pgqueue.database import statements
from pgqueue.database.run import run_async
from pgqueue.errors import (
    IdempotencyConflictError,
    InvalidJobError,
    InvalidRequestError,
    NotAllowedError,
    UnknownTaskError,
)
from pgqueue.model import options as rules
from pgqueue.model import unique
from pgqueue.model.new_job import NewJob, in_batches
from pgqueue.model.payload import ARGS_LIMIT, check_text
from pgqueue.ui.api.answers import stored_job
from pgqueue.ui.api.calls import Answer, Call
from pgqueue.ui.api.shapes import EnqueuedBatch, EnqueuedJob, option_values

RETRY_AFTER = "1"  # seconds after which a caller can ask for the state


async def enqueue(call: Call) -> Answer:
    job = call.sends(EnqueuedJob)
    header = call.request.headers.get("idempotency-key")
    if header is not None:
        job = _with_key(job, header)
    [handle] = await _store(call, [job])
    stored = stored_job(handle, call.url(""))
    headers = {"Location": stored["status_url"], "Retry-After": RETRY_AFTER}
    if handle.conflict == "idempotency_key":
        headers["Idempotency-Replayed"] = "true"
    return Answer(stored, 202 if handle.created else 200, headers)


async def enqueue_batch(call: Call) -> Answer:
    if "idempotency-key" in call.request.headers:
        raise InvalidRequestError(
            "A batch takes no header Idempotency-Key.", do="give each job an idempotency_key"
        )
    stored = await _store(call, call.sends(EnqueuedBatch).jobs)
    return Answer(
        {"jobs": [stored_job(handle, call.url("")) for handle in stored]}, 202, {"Retry-After": RETRY_AFTER}
    )


def _with_key(job: EnqueuedJob, header: str) -> EnqueuedJob:
    """Returns the job with the key of the header, which can be in quotes, as the draft of the header has it."""
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise InvalidRequestError(
            "The header Idempotency-Key is no key.", do="send 1 to 255 visible characters of ASCII"
        )
    if job.idempotency_key not in (None, key):
        raise InvalidRequestError(
            "The header Idempotency-Key and idempotency_key differ.", do="send one of them"
        )
    return job.model_copy(update={"idempotency_key": key})


async def _store(call: Call, jobs: Sequence[EnqueuedJob]) -> list[JobHandle]:
    for job in jobs:
        _check_rights(call, job)
    batches = in_batches(_new_jobs(call, jobs))
    service = call.service
    async with service.writing() as connection:
        if service.checks_arguments:
            rows = await service.store.ainsert(batches, connection)
        else:
            rows = accepted(
                batches, await run_async(connection, statements.enqueue_many(batches, declared=False))
            )
        made = handles(service.store, rows)
        if not call.who.sees_all:
            await _check_found(call, [handle for handle in made if not handle.created], connection)
            await _check_queues(call, jobs, made, connection)
    return made


def _check_rights(call: Call, job: EnqueuedJob) -> None:
    who = call.who
    if not who.may_enqueue(job.task):
        raise NotAllowedError(
            f"{who.name} may not enqueue the task {job.task}.",
            why="no pattern of the token's tasks fits it",
            do=f"use a token made with pgq api token --task {job.task}",
        )
    if job.queue is not None:
        _check_queue(call, job.queue)


def _check_queue(call: Call, queue: str) -> None:
    if not call.who.may_see(queue):
        raise NotAllowedError(
            f"{call.who.name} may not use the queue {queue}.", why="no pattern of the token's queues fits it"
        )


async def _check_queues(
    call: Call, jobs: Sequence[EnqueuedJob], made: Sequence[JobHandle], connection: AsyncConnection
) -> None:
    """Raises NotAllowedError if the queue that a task declares is one that the caller may not use. Nothing is stored then."""
    declared = {
        job.task: handle.id
        for job, handle in zip(jobs, made, strict=True)
        if job.queue is None and handle.created
    }
    for job_id in declared.values():
        stored = await run_async(connection, statements.get_job(job_id))
        if stored is not None:
            _check_queue(call, stored.queue)


async def _check_found(call: Call, found: Sequence[JobHandle], connection: AsyncConnection) -> None:
    """Raises IdempotencyConflictError if the key of a job belongs to a job of a queue that the caller may not see. Nothing is stored then."""
    for handle in found:
        job = await run_async(connection, statements.get_job(handle.id))
        if job is None or not call.who.may_see(job.queue):
            raise IdempotencyConflictError(
                "Another caller's job has the key.",
                job_id=handle.id,
                do="use another key for another request",
            )


def _new_jobs(call: Call, jobs: Sequence[EnqueuedJob]) -> list[NewJob]:
    """Returns the jobs, checked. Raises the error of a single job, or InvalidBatchError with the first 20 reasons."""
    make = _of_app if call.service.checks_arguments else _of_database
    made: list[NewJob] = []
    reasons: dict[int, str] = {}
    for index, job in enumerate(jobs):
        try:
            made.append(make(call.service.app, job))
        except (InvalidJobError, UnknownTaskError) as error:
            if len(jobs) == 1:
                raise
            reasons[index] = error.what
    if reasons:
        raise bad_items(reasons)
    return made


def _of_app(app: App, job: EnqueuedJob) -> NewJob:
    """Makes a job of a task that the app knows. The arguments are checked against its signature."""
    app.spec(job.task)
    return app.tasks[job.task].using(**option_values(job)).job_of(job.args)


def _of_database(_app: App, job: EnqueuedJob) -> NewJob:
    """Makes a job of a task that only workers know. The database adds the options that a worker has declared."""
    text = check_text(json.dumps(job.args).encode(), f"The arguments of task {job.task}", ARGS_LIMIT)
    chosen = unique.checked_together(rules.options(**option_values(job)))
    key = chosen.get("unique_key")
    rest = {name: value for name, value in chosen.items() if name != "unique_key"}
    return NewJob(job.task, text, rest, key if isinstance(key, str) else None)
