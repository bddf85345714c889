"""``GET /jobs/{id}/events``: what happens to a job, as Server-Sent Events, from its first event to its end.

The events are the rows of its timeline, numbered from 1. So a client that comes back with ``Last-Event-ID`` gets exactly the events that it has
missed, also from another server. All streams of a server share the thread and the listening connection of the requests that wait
(app/lookout.py): one query a second reads the jobs of all of them, and only for a job that has changed its timeline is read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from sse_starlette import EventSourceResponse
from starlette.responses import Response

from pgqueue.database import statements
from pgqueue.errors import InvalidRequestError, PgQueueError
from pgqueue.model.job import Job
from pgqueue.ui.api.answers import shown_event
from pgqueue.ui.api.calls import Call
from pgqueue.ui.api.jobs import seen
from pgqueue.ui.api.strict_json import encode

PING = 15  # seconds between two signs of life of a stream
SLOW = 30  # a client that takes nothing for this many seconds is given up
LONGEST = 3600.0  # seconds; then the stream ends, and the client comes back with Last-Event-ID
NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

Sent = Mapping[str, str]


async def stream(call: Call) -> Response:
    """Answers the stream. If the job has ended and the client has all its events: 204, after which browsers do not come back."""
    last = _last_event(call)
    call.service.check_room(call.who.name)
    job, events = await _read(call, last)
    if job.is_final and not events:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(
        _events(call, job, events, last), headers=headers, ping=PING, send_timeout=SLOW
    )


def _last_event(call: Call) -> int:
    given = call.request.headers.get("last-event-id", "0")
    if not NUMBER.fullmatch(given):
        raise InvalidRequestError(
            "The header Last-Event-ID is no number.", do="send the id of the last event"
        )
    return int(given)


async def _events(call: Call, job: Job, events: list[Sent], last: int) -> AsyncIterator[Sent]:
    with call.service.streaming(call.who.name):
        for event in events:
            yield event
        if job.is_final:
            return
        last += len(events)
        known = None
        looks = call.service.store.waiters.alooks(job.id, LONGEST, watched=True)
        async with aclosing(looks):
            async for look in looks:
                if look is None:
                    return  # its row is gone, and with it its timeline
                if (found := _version(look)) == known:
                    continue
                try:
                    job, events = await _read(call, last)
                except PgQueueError:
                    return  # the client comes back with Last-Event-ID, and gets an answer that says why
                for event in events:
                    yield event
                last += len(events)
                known = found
                if job.progressed is not None and not job.is_final:
                    yield {"event": "progress", "data": encode(job.progressed).decode()}
                if job.is_final:
                    return


def _version(job: Job) -> tuple[object, ...]:
    """Returns what changes whenever something happens to the job."""
    return job.state, job.attempt, job.lease_id, job.run_at, job.progressed, job.finished_at


async def _read(call: Call, last: int) -> tuple[Job, list[Sent]]:
    """Returns the job, and the events after the number ``last``."""
    async with call.service.reading() as reader:
        job = seen(call, await reader.ask(statements.get_job(call.job_id)))
        entries = await reader.ask(statements.list_timeline(call.job_id))
    return job, [
        {"id": str(number), "event": entry.to_state, "data": encode(shown_event(entry)).decode()}
        for number, entry in enumerate(entries, 1)
        if number > last
    ]
