"""A proxy to the database that understands so much of PostgreSQL's protocol that it can lose a COMMIT, or the answer to a COMMIT.

Handlers mark their transactions: a statement returns a text made by ``MARK``, which contains the id of the transaction. So the proxy knows
which transaction a COMMIT ends, and a test can later ask the server what became of this transaction.

The threads of ``proxy.py`` would be too slow for the millions of messages of a campaign. So this proxy has one event loop in one thread.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from psycopg.conninfo import conninfo_to_dict, make_conninfo

# The SQL expression for the mark of a transaction. ``{}`` is a word that says what the transaction writes.
MARK = "'xact=' || pg_current_xact_id() || '/{};'"
MARKED = re.compile(rb"xact=(\d+)/(\w+);")
HEAD = 5  # the type and the length of a message; a startup message has no type

# What happens to a COMMIT.
SWALLOWED = (
    "swallowed"  # the server gets it and answers; the answer is dropped, and the client's connection is cut
)
LATE = "late"  # the client's connection is cut at once, and the server gets the COMMIT DELAY seconds later
NOT_DELIVERED = "not delivered"  # both connections are cut, and the server never gets the COMMIT
WEIGHTS = {SWALLOWED: 4, LATE: 2, NOT_DELIVERED: 1}
DELAY = 0.3


class Lost(NamedTuple):
    """A COMMIT whose client got no answer.

    ``what`` is the word of the mark, or the application_name of the connection that has sent a batch. A batch has no mark, so ``xact`` is
    None. ``committed``: whether the server has answered, to the proxy, that it has committed. ``at``: when it was lost, by the monotonic
    clock.
    """

    fault: str
    what: str
    xact: int | None
    committed: bool
    at: float


@dataclass(eq=False)
class Pair:
    """The connection of a client to the proxy, and the proxy's connection to the server for this client."""

    client: asyncio.Transport
    server: asyncio.Transport | None = None
    name: str | None = None  # the application_name; None: the client has not sent the startup message yet
    waiting: bytes = b""  # what the server gets as soon as it is connected
    mark: tuple[int, str] | None = None  # of the client's open transaction
    batches: dict[bytes, bool] = field(
        default_factory=dict
    )  # for each prepared statement, whether it is a batch
    is_batch: bool = False  # whether the statement that the client has begun to send is a batch
    fault: str = ""
    what: str = ""
    xact: int | None = None

    def send(self, data: bytes) -> None:
        if self.server is None:
            self.waiting += data
        else:
            self.server.write(data)

    def abort(self) -> None:
        self.client.abort()
        if self.server is not None:
            self.server.abort()


class CommitProxy:
    """Loses COMMITs of marked transactions, and of batches. A batch is a statement of pgqueue that commits by itself.

    ``odds``: which share of the COMMITs is lost, for each word of a mark and for each application_name of ``batches``. ``batches``: for each
    application_name, a part of the text of the statements that are batches.
    """

    def __init__(
        self, dsn: str, dice: random.Random, odds: Mapping[str, float], batches: Mapping[str, bytes]
    ) -> None:
        parts = conninfo_to_dict(dsn)
        self._socket = str(Path(str(parts["host"])) / f".s.PGSQL.{parts.get('port') or 5432}")
        self._dice, self._odds, self._batches = dice, odds, batches
        self.lost: list[Lost] = []
        self.pairs: set[Pair] = set()
        self.loop = asyncio.new_event_loop()
        self._server = self.loop.run_until_complete(
            self.loop.create_server(lambda: FromClient(self), "127.0.0.1", 0)
        )
        self.dsn = make_conninfo(
            dsn,
            host="127.0.0.1",
            port=self._server.sockets[0].getsockname()[1],
            sslmode="disable",
            gssencmode="disable",
        )

    def counted(self) -> dict[str, int]:
        """Returns how many COMMITs were lost, by what happened to them and by what they committed."""
        counts = Counter(f"{one.what} {one.fault}" for one in self.lost)
        return dict(sorted(counts.items()))

    def fault_of(self, what: str) -> str:
        """Chooses by chance what happens to a COMMIT. '': nothing."""
        if self._dice.random() >= self._odds.get(what, 0.0):
            return ""
        return self._dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    def is_batch(self, name: str, text: bytes) -> bool:
        return name in self._batches and self._batches[name] in text

    async def close(self) -> None:
        self._server.close()
        await asyncio.sleep(DELAY)  # for COMMITs that are late
        while self.pairs:
            self.pairs.pop().abort()
        await asyncio.sleep(0.1)  # the transports close their sockets in the next steps of the loop

    async def reach(self, pair: Pair) -> None:
        try:
            await self.loop.create_unix_connection(lambda: FromServer(self, pair), self._socket)
        except OSError:  # the server is down
            pair.client.abort()


class FromClient(asyncio.Protocol):
    """Receives the messages of a client, and sends them to the server."""

    def __init__(self, proxy: CommitProxy) -> None:
        self._proxy = proxy
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._pair = Pair(transport)
        self._proxy.pairs.add(self._pair)
        self._reaching = self._proxy.loop.create_task(self._proxy.reach(self._pair))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pair.server is None:
            self._proxy.pairs.discard(self._pair)
        if self._pair.fault != LATE:
            self._pair.abort()

    def data_received(self, data: bytes) -> None:
        if self._pair.fault:
            return
        buffer = self._buffer + data
        passed = 0
        for begin, end in self._messages(buffer):
            if self._is_commit(buffer, begin, end):
                fault = self._proxy.fault_of(self._pair.what)
                if fault:
                    self._pair.send(buffer[passed:begin])
                    self._lose(fault, buffer[begin:end])
                    return
            passed = end
        self._pair.send(buffer[:passed])
        self._buffer = buffer[passed:]

    def _messages(self, buffer: bytes) -> Iterator[tuple[int, int]]:
        """Yields the beginning and the end of each complete message in the buffer."""
        at = 0
        if self._pair.name is None and len(buffer) >= HEAD:
            at = int.from_bytes(buffer[:4])
            words = buffer[8:at].split(b"\0")
            self._pair.name = (
                dict(zip(words[::2], words[1::2], strict=False)).get(b"application_name", b"").decode()
            )
            yield 0, at
        while len(buffer) - at >= HEAD:
            end = at + 1 + int.from_bytes(buffer[at + 1 : at + HEAD])
            if end > len(buffer):
                return
            yield at, end
            at = end

    def _is_commit(self, buffer: bytes, begin: int, end: int) -> bool:
        """Returns whether this message commits a marked transaction or a batch. If so, notes what it commits."""
        pair = self._pair
        match buffer[begin : begin + 1]:
            case b"Q":
                text = buffer[begin + HEAD : end - 1].lower()
                if not (text.startswith((b"commit", b"rollback")) or text.endswith(b"; commit")):
                    return False
                (pair.xact, pair.what), pair.mark = pair.mark or (None, ""), None
                return bool(pair.what) and not text.startswith(b"rollback")
            case b"P":
                name, text = buffer[begin + HEAD : end].split(b"\0", 2)[:2]
                pair.batches[name] = self._proxy.is_batch(pair.name or "", text)
            case b"B":
                pair.is_batch = pair.batches.get(buffer[begin + HEAD : end].split(b"\0", 2)[1], False)
            case b"S" if pair.is_batch:
                pair.is_batch, pair.xact, pair.what = False, None, pair.name or ""
                return True
        return False

    def _lose(self, fault: str, commit: bytes) -> None:
        pair = self._pair
        pair.fault = fault
        if fault == NOT_DELIVERED:
            self._proxy.lost.append(Lost(fault, pair.what, pair.xact, committed=False, at=monotonic()))
            pair.abort()
        elif fault == SWALLOWED:
            pair.send(commit)
        else:
            pair.client.abort()
            self._proxy.loop.call_later(DELAY, pair.send, commit)


class FromServer(asyncio.Protocol):
    """Receives the answers of the server, and sends them to the client, or drops them if they answer a lost COMMIT."""

    def __init__(self, proxy: CommitProxy, pair: Pair) -> None:
        self._proxy, self._pair = proxy, pair
        self._answer = b""
        self._has_committed = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._pair.server = transport
        if self._pair.client.is_closing():
            transport.abort()
        transport.write(self._pair.waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.pairs.discard(self._pair)
        self._pair.abort()

    def data_received(self, data: bytes) -> None:
        if self._pair.fault:
            self._answer += data
            self._read_answer()
            return
        if b"xact=" in data:
            for xact, what in MARKED.findall(data):
                self._pair.mark = int(xact), what.decode()
        self._pair.client.write(data)

    def _read_answer(self) -> None:
        """Reads the answer to a lost COMMIT. At its end, notes whether the server has committed, and cuts both connections."""
        while len(self._answer) >= HEAD:
            end = 1 + int.from_bytes(self._answer[1:HEAD])
            if len(self._answer) < end:
                return
            kind, body, self._answer = self._answer[:1], self._answer[HEAD:end], self._answer[end:]
            if kind == b"E" or (kind == b"C" and body.startswith(b"ROLLBACK")):
                self._has_committed = False
            elif kind == b"Z":
                pair = self._pair
                self._proxy.lost.append(
                    Lost(pair.fault, pair.what, pair.xact, self._has_committed, monotonic())
                )
                pair.abort()
                return


@contextmanager
def commit_proxy_to(
    dsn: str, dice: random.Random, odds: Mapping[str, float], batches: Mapping[str, bytes]
) -> Iterator[CommitProxy]:
    """Yields a proxy that runs in a thread of its own until the end of the block. The server's DSN must lead to a Unix socket."""
    proxy = CommitProxy(dsn, dice, odds, batches)
    thread = threading.Thread(target=proxy.loop.run_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), proxy.loop).result()
        proxy.loop.call_soon_threadsafe(proxy.loop.stop)
        thread.join()
        proxy.loop.close()
