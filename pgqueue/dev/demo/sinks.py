"""The receivers outside the shop: a mail server and the webhook of a warehouse. They run in threads of the demo's process.

Both write all that they receive into the database. If they have received the key of a message before, they mark the message as a repeat,
and do nothing else with it.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socket import socket
from types import TracebackType
from typing import Self

import psycopg


class Sink(socketserver.ThreadingTCPServer):
    """A server on a free local port. It writes each key that it receives into its table."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    table: str

    def __init__(self, dsn: str, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.seen: set[str] = set()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def note(self, order_id: int, key: str) -> None:
        with self.lock:
            self.conn.execute(
                f"INSERT INTO demo.{self.table} (order_id, key, repeat) VALUES (%s, %s, %s)",  # noqa: S608
                (order_id, key, key in self.seen),
            )
            self.seen.add(key)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
        with self.lock:
            self.conn.close()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        """Reports an error. Reports nothing if a client has closed its connection, because a killed worker does that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class MailSink(Sink):
    table = "mails"

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, MailConversation)
        self.may_answer = threading.Event()
        self.may_answer.set()

    @contextmanager
    def answers_withheld(self) -> Iterator[None]:
        """Makes the server receive mails without an answer in this block. The answers are sent when the block ends."""
        self.may_answer.clear()
        try:
            yield
        finally:
            self.may_answer.set()


class MailConversation(socketserver.StreamRequestHandler):
    """The part of SMTP that is needed to receive one mail."""

    server: MailSink

    def handle(self) -> None:
        self.answer("220 demo")
        for line in self.rfile:
            match line[:4].strip().upper():
                case b"DATA":
                    self.answer("354 go on")
                    self.receive()
                    self.server.may_answer.wait()
                    self.answer("250 received")
                case b"QUIT":
                    self.answer("221 bye")
                    return
                case _:
                    self.answer("250 ok")

    def receive(self) -> None:
        data = b"".join(iter(self.rfile.readline, b".\r\n"))
        mail = message_from_bytes(data, policy=policy.default)
        key = mail["Message-ID"].strip("<>").partition("@")[0]
        self.server.note(int(mail["Subject"].split()[-1]), key)

    def answer(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class WebhookSink(Sink):
    """The warehouse's webhook. After ``fails_after`` deliveries, it answers 503 for ``outage`` seconds. This happens only one time."""

    table = "deliveries"

    def __init__(self, dsn: str, say: Callable[[str], None], *, fails_after: int, outage: float) -> None:
        super().__init__(dsn, WebhookRequest)
        self.say = say
        self.fails_after = fails_after
        self.outage = outage
        self.down_until: float | None = None
        self.recovered = False
        self.refused = 0

    def is_down(self) -> bool:
        with self.lock:
            if self.down_until is None and len(self.seen) >= self.fails_after:
                self.down_until = time.monotonic() + self.outage
                self.say("the warehouse's webhook is down: it answers 503")
            if self.down_until is None or self.recovered:
                return False
            if time.monotonic() < self.down_until:
                self.refused += 1
                return True
            self.recovered = True
            self.say(f"the webhook is back; it refused {self.refused} requests, which are tried again")
            return False


class WebhookRequest(BaseHTTPRequestHandler):
    server: WebhookSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.is_down():
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self.server.note(json.loads(body)["order_id"], self.headers["Idempotency-Key"])
        self.answer(HTTPStatus.OK)

    def answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Logs nothing, because the demo prints all that the user should see."""
