"""``/operations``: one action on all jobs that fit a filter, done in the background. Its row in the audit says how far it is, and undoes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from psycopg import AsyncConnection

from pgqueue.database import statements
from pgqueue.database.reach import connect_soon
from pgqueue.database.statements import JobFilter
from pgqueue.database.statements.actions import AuditRow
from pgqueue.errors import InvalidRequestError, OperationNotFoundError, ServerBusyError
from pgqueue.ui.acting.doing import undo as act_undo
from pgqueue.ui.acting.operations import Action, Operation, preview_statement
from pgqueue.ui.acting.performing import perform_async
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.api.answers import ShownOperation, moment
from pgqueue.ui.api.calls import Answer, Call
from pgqueue.ui.api.jobs import auditor, refuse_secrets
from pgqueue.ui.api.shapes import SentOperation, WantedJobs, moment_of

BEGUN_WITHIN = 10.0  # seconds; an operation must have its row in the audit within this time


async def begin(call: Call) -> Answer:
    sent = call.sends(SentOperation)
    action = Action(name=sent.action, who=auditor(call), which=_filter(call, sent.jobs), limit=sent.limit)
    if sent.dry_run:
        async with call.service.reading() as reader:
            preview = await reader.ask(preview_statement(action))
        return Answer({"counts": preview.counts, "refused": preview.refused, "more": preview.more})
    operation = Operation(action)
    running = _begin(call, lambda to: _perform(to, operation), operation)
    await _until_begun(operation, running)
    assert operation.progress.audit_id is not None
    return await _shown(call, operation.progress.audit_id, 202)


async def read(call: Call) -> Answer:
    return await _shown(call, call.job_id, 200)


async def undo(call: Call) -> Answer:
    await _row(call, call.job_id)
    undoing = Undo(call.job_id, auditor(call))
    running = _begin(call, lambda to: act_undo(to, undoing), undoing)
    await asyncio.wait({running}, timeout=1.0)
    if running.done():
        running.result()  # raises its error
    return await _shown(call, call.job_id, 202)


def _filter(call: Call, wanted: WantedJobs) -> JobFilter:
    if not wanted.model_dump(exclude_none=True):
        raise InvalidRequestError(
            "The operation names no jobs.",
            do="give jobs at least one field, such as a queue or a task",
            http_code=422,
        )
    refuse_secrets(wanted.args)
    return JobFilter(
        states=wanted.state,
        queue=wanted.queue,
        queues=call.who.queue_patterns,
        task=wanted.task,
        tag=wanted.tag,
        error=wanted.error,
        concurrency_key=wanted.concurrency_key,
        args=None if wanted.args is None else json.dumps(wanted.args),
        since=None if wanted.since is None else moment_of(wanted.since),
        until=None if wanted.until is None else moment_of(wanted.until),
    )


def _begin(
    call: Call, work: Callable[[AsyncConnection], Awaitable[object]], steps: Operation | Undo
) -> asyncio.Task[object]:
    """Begins the work in the background. Raises ServerBusyError if too much work runs."""

    async def connect() -> AsyncConnection:
        return await connect_soon(call.service.store.dsn(), name="pgqueue api")

    return call.service.background.begin("an operation of the API", connect, work, steps)


async def _until_begun(operation: Operation, running: asyncio.Task[object]) -> None:
    """Waits until the operation has its row in the audit. Raises its error if it failed before."""
    with suppress(TimeoutError):
        async with asyncio.timeout(BEGUN_WITHIN):
            while operation.progress.audit_id is None and not running.done():
                await asyncio.wait({running}, timeout=0.02)
    if running.done():
        running.result()
    if operation.progress.audit_id is None:
        running.cancel()
        raise ServerBusyError("The operation could not begin.", do="try again")


async def _perform(connection: AsyncConnection, operation: Operation) -> None:
    async for _ in perform_async(connection, operation):
        pass


async def _row(call: Call, audit_id: int) -> AuditRow:
    """Reads the row of an operation that this caller may see: each caller its own, and all of them if it may see every queue."""
    async with call.service.reading() as reader:
        found = await reader.ask(statements.list_audit(audit_id=audit_id, count=1))
    if not found or found[0].source != "api" or not (call.who.sees_all or found[0].actor == call.who.name):
        raise OperationNotFoundError(
            f"There is no operation {audit_id}.", do="send the id that POST /operations has answered"
        )
    return found[0]


async def _shown(call: Call, audit_id: int, code: int) -> Answer:
    row = await _row(call, audit_id)
    url = call.url(f"/operations/{row.id}")
    shown: ShownOperation = {
        "id": str(row.id), "action": row.action, "actor": row.actor, "at": moment(row.at), "ended": row.ended, "seen": row.seen,
        "changed": row.changed, "refused": row.refused, "undone": row.undone, "stopped": row.stopped, "undo_until": moment(row.undo_until), "status_url": url,
    }  # fmt: skip
    return Answer(shown, code, {"Location": url, "Retry-After": "1"} if code == 202 else {})
