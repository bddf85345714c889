"""The events of all jobs for all streams of this server: one connection listens, and one look a second reads what has happened.

Each look is a batch, which every stream gets. A stream chooses from it what its client asks for and may see. A stream that is MOST_BEHIND
batches behind is cut off: its client comes back with Last-Event-ID, and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from pgqueue.database.run import wait_notified
from pgqueue.database.statements.jobs import JobEvent
from pgqueue.errors import ServerBusyError
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.api.answers import followed_event
from pgqueue.ui.api.strict_json import encode
from pgqueue.ui.reading.events import Found, Position, Tail
from pgqueue.ui.reading.failures import too_many
from pgqueue.ui.reading.listening import ANSWER, Listening
from pgqueue.ui.reading.reader import reading_on

MOST_STREAMS = 100  # streams of a server
MOST_OF_ONE = 10  # streams of one caller
MOST_BEHIND = 20  # batches that wait for a client
EVERY = 1.0  # seconds between two looks
SOONEST = 0.25  # the same if an enqueue has sent a NOTIFY


@dataclass(frozen=True, slots=True)
class Batch:
    """What a look has found, each event with its JSON. ``number`` counts the looks; the positions and ``gap`` are those of ``Found``."""

    number: int
    events: list[tuple[JobEvent, str]]
    position: Position
    next: Position
    gap: datetime | None

    @classmethod
    def of(cls, number: int, found: Found) -> Batch:
        events = [(event, encode(followed_event(event)).decode()) for event in found.events]
        return cls(number, events, found.position, found.next, found.gap)


class Stream:
    """What one client has not got yet. ``is_cut``: it was too far behind, and gets no more batches."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.batches: asyncio.Queue[Batch] = asyncio.Queue(MOST_BEHIND)
        self.is_cut = False

    @property
    def is_over(self) -> bool:
        return self.is_cut and self.batches.empty()


class Feed:
    def __init__(self, dsn: Callable[[], str]) -> None:
        self._listening = Listening("events", dsn, lambda: bool(self._streams), self._turn)
        self._streams: set[Stream] = set()
        self._looked = asyncio.Event()
        self._tail = Tail()
        self.begun = 0  # looks that have begun
        self.position: Position | None = None  # where a client that has got all batches can begin again

    @property
    def streams(self) -> int:
        return len(self._streams)

    def check_room(self, caller: str) -> None:
        """Raises InvalidRequestError (429) if the caller has too many streams, and ServerBusyError if the server has."""
        if Counter(stream.caller for stream in self._streams)[caller] >= MOST_OF_ONE:
            raise too_many(
                f"{caller} has {MOST_OF_ONE} streams of events already.", "end one of them, or share one"
            )
        if len(self._streams) >= MOST_STREAMS:
            raise ServerBusyError("Too many clients follow the events.", do="try again")

    @contextmanager
    def joined(self, caller: str) -> Iterator[Stream]:
        """Yields a stream, which gets a batch of each look while the block runs."""
        self.check_room(caller)
        stream = Stream(caller)
        if not self._streams:  # what happened meanwhile is nothing new for this stream
            self._tail = Tail()
            self._looked.clear()
        self._streams.add(stream)
        self._listening.stir()
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    async def looked(self) -> None:
        """Returns as soon as there was a look: from then on, no event is missing in the batches. Raises TimeoutError."""
        async with asyncio.timeout(ANSWER):
            await self._looked.wait()

    async def aclose(self) -> None:
        await self._listening.aclose()

    async def _turn(self, connection: AsyncConnection) -> None:
        began = monotonic()
        await self._look(connection)
        await wait_notified(connection, max(began + EVERY - monotonic(), 0.0))
        await asyncio.sleep(max(began + SOONEST - monotonic(), 0.0))

    async def _look(self, connection: AsyncConnection) -> None:
        tail = self._tail
        self.begun += 1
        async with asyncio.timeout(ANSWER), reading_on(connection) as reader:
            found = await reader.follow(tail.look())
        if tail is not self._tail:
            return
        self._looked.set()
        self.position = found.next
        if found.events or found.gap is not None:
            self._tell(Batch.of(self.begun, found))

    def _tell(self, batch: Batch) -> None:
        for stream in list(self._streams):
            try:
                stream.batches.put_nowait(batch)
            except asyncio.QueueFull:
                stream.is_cut = True
                self._streams.discard(stream)
