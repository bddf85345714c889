"""``GET /events``: what happens to all jobs that the caller may see, as Server-Sent Events, without end.

The id of an event is the position (reading/events.py) from which a client misses nothing, whichever server it asks. What happened within
the last seconds before that position comes a second time, because a transaction that was open then can have committed since.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import UTC, datetime

from sse_starlette import EventSourceResponse
from starlette.responses import Response

from pgqueue.database import statements
from pgqueue.database.statements.jobs import JobEvent
from pgqueue.errors import InvalidRequestError, PgQueueError
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.access.who import Who
from pgqueue.ui.api.answers import moment
from pgqueue.ui.api.calls import Call
from pgqueue.ui.api.events import LONGEST, PING, SLOW
from pgqueue.ui.api.feed import Batch, Feed
from pgqueue.ui.api.shapes import Following
from pgqueue.ui.api.strict_json import encode
from pgqueue.ui.reading.events import Position, Tail

MOST_MISSED = 10_000  # events of each kind that a client that comes back gets
SLICE = 500  # events that are sent together

Sent = bytes | dict[str, str]


async def stream(call: Call) -> Response:
    """Answers the stream. Errors of the database are answered before it begins."""
    asked = call.asks(Following)
    given = _last_event(call)
    feed = call.service.feed
    feed.check_room(call.who.name)
    position = given or await _now(call)
    return EventSourceResponse(
        _events(call, asked, feed, position),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        ping=PING,
        send_timeout=SLOW,
    )


def _last_event(call: Call) -> Position | None:
    text = call.request.headers.get("last-event-id", "")
    found = Position.read(text)
    if text and found is None:
        raise InvalidRequestError(
            "The header Last-Event-ID is no id of this stream.", do="send the id of the last event, or none"
        )
    return found


async def _now(call: Call) -> Position:
    async with call.service.reading() as reader:
        now = await reader.ask(statements.read_clock())
        last_id, _ = await reader.ask(statements.compare_ids())
    return Position(now, last_id)


async def _events(call: Call, asked: Following, feed: Feed, position: Position) -> AsyncIterator[Sent]:
    end = monotonic() + LONGEST
    try:
        with feed.joined(call.who.name) as stream:
            yield {"id": str(position)}
            await feed.looked()
            batch = await _missed(call, position)
            # The next look, and one that has begun already, can find the same events.
            had, until = {event for event, _ in batch.events}, feed.begun + 1
            for part in _parts(call, asked, batch):
                yield part
            while not stream.is_over and (left := end - monotonic()) > 0:
                try:
                    async with asyncio.timeout(min(PING, left)):
                        batch = await stream.batches.get()
                except TimeoutError:
                    if stream.batches.empty():
                        yield {"id": str(feed.position)}
                    continue
                for part in _parts(call, asked, batch, had if batch.number <= until else set()):
                    yield part
    except (PgQueueError, TimeoutError):
        return  # the client comes back with Last-Event-ID, and gets an answer that says why


async def _missed(call: Call, position: Position) -> Batch:
    """Returns the events since the position as a batch, also those that committed before the stream began."""
    tail = Tail(position=position, most=MOST_MISSED)
    async with call.service.reading() as reader:
        return Batch.of(0, await reader.follow(tail.look()))


def _parts(
    call: Call, asked: Following, batch: Batch, had: Collection[JobEvent] = frozenset()
) -> Iterator[Sent]:
    """Yields the events of a batch that the client wants, and at last the position that it has got to with them."""
    if batch.gap is not None:
        since = datetime.fromtimestamp(batch.position.since, UTC)
        yield {"event": "gap", "data": encode({"since": moment(since), "until": moment(batch.gap)}).decode()}
    lines = [
        f"id: {batch.position}\r\nevent: {event.to_state}\r\ndata: {text}\r\n\r\n"
        for event, text in batch.events
        if event not in had and _is_wanted(call.who, asked, event)
    ]
    for at in range(0, len(lines), SLICE):
        yield "".join(lines[at : at + SLICE]).encode()
    yield {"id": str(batch.next)}


def _is_wanted(who: Who, asked: Following, event: JobEvent) -> bool:
    return (
        (who.sees_all or (event.queue is not None and who.may_see(event.queue)))
        and asked.queue in (None, event.queue)
        and asked.task in (None, event.task)
        and (asked.type is None or event.reason in asked.type or event.to_state in asked.type)
    )
