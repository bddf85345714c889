"""Answers probes over HTTP: four paths, GET and HEAD, one request for each connection.

It is no general web server: the standard library's ``http.server`` gives each connection a thread for as long as the other side likes, and
a web framework would be a dependency of every worker. Here, one exchange has a time limit as a whole, a request has at most MOST_BYTES, and
if more than MOST_CONNECTIONS are open, the oldest is closed. A probe sends its request at once, so it is answered however many slow clients
there are.
"""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from pgqueue.errors import InvalidSettingError
from pgqueue.runtime.sockets import listening_socket
from pgqueue.worker.health import scrape
from pgqueue.worker.health.health import Finding, Health
from pgqueue.worker.health.shared import SharedAnswer

MOST_BYTES = 8192  # of a request with all its headers
MOST_CONNECTIONS = 32
EXCHANGE = 5.0  # seconds for reading a request and sending the whole answer
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


class Answer(NamedTuple):
    code: HTTPStatus
    body: bytes
    kind: str = JSON
    more: str = ""  # further headers, each with its line end

    def as_bytes(self, *, with_body: bool) -> bytes:
        head = (
            f"HTTP/1.1 {self.code.value} {self.code.phrase}\r\n"
            f"Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n{self.more}"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        return head.encode("ascii") + (self.body if with_body else b"")


def problem(code: HTTPStatus, more: str = "") -> Answer:
    return Answer(code, json.dumps({"error": code.phrase.lower()}).encode() + b"\n", more=more)


def of(finding: Finding) -> Answer:
    return Answer(HTTPStatus.OK if finding.is_good else HTTPStatus.SERVICE_UNAVAILABLE, finding.as_json())


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens on this address. Raises InvalidSettingError if that is not possible."""
    try:
        return listening_socket(host, port, MOST_CONNECTIONS)
    except OSError as error:
        raise InvalidSettingError(
            f"The health port cannot be opened on {host}:{port}.",
            why=error.strerror or str(error),
            do="give another --health-port or --health-host, or stop the process that uses the port",
        ) from None


class HealthServer:
    def __init__(self, health: Health) -> None:
        self._health = health
        self._metrics = SharedAnswer(scrape.text) if scrape.are_possible() else None
        self._exchanges: dict[asyncio.Task[None], None] = {}  # the oldest first

    async def serve(self, listener: socket.socket) -> None:
        """Answers until it is cancelled."""
        server = await asyncio.start_server(self._begin, sock=listener, limit=MOST_BYTES)
        try:
            await asyncio.Event().wait()
        finally:  # ``Server.serve_forever`` would wait here for slow clients
            server.close()
            exchanges = list(self._exchanges)
            for exchange in exchanges:
                exchange.cancel()
            await asyncio.gather(*exchanges, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._exchanges) >= MOST_CONNECTIONS:
            oldest = next(iter(self._exchanges))
            del self._exchanges[oldest]
            oldest.cancel()
        exchange = asyncio.get_running_loop().create_task(self._exchange(reader, writer))
        self._exchanges[exchange] = None
        exchange.add_done_callback(partial(self._end, writer))

    def _end(self, writer: asyncio.StreamWriter, exchange: asyncio.Task[None]) -> None:
        """Closes the connection, also of an exchange that was cancelled before it began."""
        self._exchanges.pop(exchange, None)
        if not writer.is_closing():
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(EXCHANGE):
                writer.transport.set_write_buffer_limits(0)  # so that ``drain`` waits until all is sent
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            return  # the client has gone, is slow, or has to make room for another

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE).as_bytes(with_body=True)
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return problem(HTTPStatus.BAD_REQUEST).as_bytes(with_body=True)
        if words[0] not in (b"GET", b"HEAD"):
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n").as_bytes(with_body=True)
        answer = await self._answer_for(words[1].partition(b"?")[0])
        return answer.as_bytes(with_body=words[0] == b"GET")

    async def _answer_for(self, path: bytes) -> Answer:
        match path:
            case b"/livez":
                return of(self._health.live())
            case b"/readyz":
                return of(await self._health.ready())
            case b"/startupz":
                return of(self._health.startup())
            case b"/metrics":
                return await self._scraped()
        return problem(HTTPStatus.NOT_FOUND)

    async def _scraped(self) -> Answer:
        if self._metrics is None:
            return Answer(HTTPStatus.NOT_IMPLEMENTED, scrape.MISSING, TEXT)
        text = await self._metrics.get(EXCHANGE)
        return Answer(HTTPStatus.OK, text, scrape.KIND) if text else problem(HTTPStatus.INTERNAL_SERVER_ERROR)
