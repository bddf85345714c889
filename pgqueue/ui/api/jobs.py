"""The routes that read jobs and change them. A job of a queue that the caller may not see counts as missing."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from pgqueue.config import secret_names
from pgqueue.database import statements
from pgqueue.database.run import run_async
from pgqueue.database.statements import JobFilter, Who
from pgqueue.database.statements.actions import JobAction
from pgqueue.errors import (
    InvalidRequestError,
    JobFailedError,
    JobNotFoundError,
    JobUnchangedError,
    ServerBusyError,
)
from pgqueue.model.job import Job
from pgqueue.model.payload import signal_text
from pgqueue.model.redaction import names_a_secret
from pgqueue.model.refusal import why_refused
from pgqueue.model.suspension import signal_name
from pgqueue.sql import Row, Statement
from pgqueue.ui.api.answers import etag, shown_event, shown_job, shown_reason
from pgqueue.ui.api.calls import Answer, Call
from pgqueue.ui.api.shapes import Listing, SentSignal, Waiting, moment_of
from pgqueue.ui.api.strict_json import decode, encode
from pgqueue.ui.api.waiting import wait_for_end

AGAIN = {"Retry-After": "1"}
# The pauses, in seconds, before an action is tried again on a job that another request has locked: act() waits for no lock.
LOCKED_PAUSES = (0.02, 0.1, 0.5)
PAGE = 4_000_000  # characters of texts and documents after which a page of jobs ends, if it has a job
AT_FIRST = 8  # jobs that are read before their size is known
MOST_EVENTS = 1000  # of a job; the last ones are answered


async def get_job(call: Call) -> Answer | Response:
    job = await _job(call)
    wait = call.asks(Waiting).wait
    if wait and not job.is_final:
        await wait_for_end(call, job, wait)
        job = await _job(call)
    body = encode(shown_job(job))
    headers = {"ETag": etag(body), "Cache-Control": "private, no-cache"}
    if not job.is_final:
        headers |= AGAIN
    if _has(call.request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, "application/json")


def _has(given: str | None, tag: str) -> bool:
    """Whether a header If-None-Match names the tag. A proxy that has compressed the answer makes ``W/`` of its tag."""
    return given is not None and any(
        part.strip().removeprefix("W/") in (tag, "*") for part in given.split(",")
    )


async def get_result(call: Call) -> Answer:
    job = await _job(call)
    wait = call.asks(Waiting).wait
    if wait and not job.is_final:
        await wait_for_end(call, job, wait)
        job = await _job(call)
    if not job.is_final:
        waits = {"id": str(job.id), "state": job.state, "status_url": call.url(f"/jobs/{job.id}")}
        return Answer(waits, 202, AGAIN)
    if job.state != "completed":
        raise JobFailedError(job.id, job.state, job.last_error)
    return Answer({"id": str(job.id), "state": job.state, "result": job.result})


async def list_jobs(call: Call) -> Response:
    asked = call.asks(Listing)
    which = _filter(call, asked)
    after = None if asked.after is None else int(asked.after)
    body = await asyncio.to_thread(_page, *await _rows(call, which, after, asked.limit))
    return Response(body, media_type="application/json")


async def _rows(call: Call, which: JobFilter, after: int | None, most: int) -> tuple[list[Row], bool]:
    """Reads the rows of a page, and whether there can be more of them. The page ends early if its documents are large together."""
    rows: list[Row] = []
    size = 0
    async with call.service.reading() as reader:
        while len(rows) <= most:
            # As many as are still missing, but only a few until it is known how large they are.
            count = most + 1 - len(rows)
            count = min(count, AT_FIRST if not rows else (PAGE - size) * len(rows) // size + 1)
            made = statements.list_jobs(which, before=after, count=count)
            found = await reader.ask(Statement(made.name, made.text, made.parameters, list))
            for row in found:
                size += sum(len(value) for value in row if isinstance(value, str))
                if rows and (size > PAGE or len(rows) == most):
                    return rows, True
                rows.append(row)
            if len(found) < count:
                return rows, False
            after = rows[-1][0]
    return rows, True


def _page(rows: list[Row], has_more: bool) -> bytes:
    """Returns a page of jobs as JSON. On a thread, because to decode and mask large documents takes long."""
    jobs = statements.list_jobs().decode(rows)
    return encode({"items": [shown_job(job) for job in jobs], "next": str(jobs[-1].id) if has_more else None})


def refuse_secrets(args: object) -> None:
    """Raises InvalidRequestError if a filter asks for a value that is always masked, because each answer would be a guess at it."""
    if names_a_secret(args, secret_names()):
        raise InvalidRequestError("args asks for a secret value.", do="search for another argument")


def _filter(call: Call, asked: Listing) -> JobFilter:
    if asked.args is not None:
        args = decode(asked.args.encode(), "args")
        if not isinstance(args, dict):
            raise InvalidRequestError("args is not a JSON object.", do='send it as in ?args={"tenant":"t1"}')
        refuse_secrets(args)
    return JobFilter(
        states=asked.state,
        queue=asked.queue,
        queues=call.who.queue_patterns,
        task=asked.task,
        tag=asked.tag,
        error=asked.error,
        unique_key=asked.unique_key,
        idempotency_key=asked.idempotency_key,
        concurrency_key=asked.concurrency_key,
        args=asked.args,
        named=asked.named,
        worker_id=None if asked.worker is None else int(asked.worker),
        workflow_id=None if asked.workflow is None else int(asked.workflow),
        since=None if asked.since is None else moment_of(asked.since),
        until=None if asked.until is None else moment_of(asked.until),
    )


async def cancel(call: Call) -> Answer:
    said = await _act(call, "cancel")
    if said not in ("cancelled", "requested"):
        raise JobUnchangedError(f"Job {call.job_id} was not cancelled: {why_refused(said)}.")
    return _changed(call, said, 202 if said == "requested" else 200)


async def retry(call: Call) -> Answer:
    said = await _act(call, "retry")
    if said != "revived":
        raise JobUnchangedError(f"Job {call.job_id} cannot run again: {why_refused(said)}.")
    return _changed(call, "pending", 202)


async def _act(call: Call, action: JobAction) -> str:
    """Does an action with the job, and writes it into the audit. Returns the word of sql/actions/functions/act.sql."""
    said = await _act_once(call, action)
    for pause in LOCKED_PAUSES:
        if said != "locked":
            break
        await asyncio.sleep(pause)
        said = await _act_once(call, action)
    if said == "locked":
        raise ServerBusyError(f"Another transaction has locked job {call.job_id}.", do="try again")
    if said == "not found":
        raise JobNotFoundError(call.job_id)
    return said


async def _act_once(call: Call, action: JobAction) -> str:
    async with call.service.writing() as connection:
        seen(call, await run_async(connection, statements.get_job(call.job_id)))
        [done] = await run_async(connection, statements.act(action, [call.job_id], auditor(call)))
    return done.result


def auditor(call: Call) -> Who:
    """Returns who acts, as the audit writes it."""
    return Who(call.who.name, "api")


async def signal(call: Call) -> Answer:
    sent = call.sends(SentSignal)
    name, text = signal_name(sent.name), None if sent.payload is None else signal_text(sent.payload)
    async with call.service.writing() as connection:
        seen(call, await run_async(connection, statements.get_job(call.job_id)))
        made = statements.signal(call.job_id, name, text, sent.key, call.who.name, who=auditor(call))
        said = await run_async(connection, made)
    if said != "sent":
        raise JobUnchangedError(f"Job {call.job_id} takes no signal: it is {said}.")
    return _changed(call, said, 202)


async def why(call: Call) -> Answer:
    async with call.service.reading() as reader:
        seen(call, await reader.ask(statements.get_job(call.job_id)))
        return Answer(shown_reason(await reader.ask(statements.why_shown(call.job_id))))


async def timeline(call: Call) -> Answer:
    async with call.service.reading() as reader:
        seen(call, await reader.ask(statements.get_job(call.job_id)))
        entries = await reader.ask(statements.list_timeline(call.job_id))
    return Answer({"items": [shown_event(entry) for entry in entries[-MOST_EVENTS:]]})


async def _job(call: Call) -> Job:
    async with call.service.reading() as reader:
        return seen(call, await reader.ask(statements.get_job(call.job_id)))


def seen(call: Call, job: Job | None) -> Job:
    """Returns the job. Raises JobNotFoundError if there is none, or if the caller may not see its queue."""
    if job is None or not call.who.may_see(job.queue):
        raise JobNotFoundError(call.job_id)
    return job


def _changed(call: Call, state: str, code: int) -> Answer:
    url = call.url(f"/jobs/{call.job_id}")
    return Answer(
        {"id": str(call.job_id), "state": state, "status_url": url},
        code,
        {"Location": url} if code == 202 else {},
    )
