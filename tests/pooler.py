"""A small pooler in transaction mode: many clients share one session of the server, each for one transaction at a time."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# After a login, the pooler sends these settings of the server to the client, as the server itself does.
REPORTED = (
    "server_version",
    "client_encoding",
    "standard_conforming_strings",
    "DateStyle",
    "TimeZone",
    "integer_datetimes",
)
# Codes of the requests for TLS and GSSAPI, which a client can send before its startup message.
ENCRYPTION = (
    80877103,
    80877104,
)
ROLLBACK = b"Q" + struct.pack("!i", 13) + b"rollback\0"


@contextlib.contextmanager
def transaction_pooler(dsn: str) -> Iterator[str]:
    """Runs a pooler for this database, and yields the DSN of the pooler."""
    with (
        psycopg.connect(make_conninfo(dsn, sslmode="disable")) as login,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):
        pooler = Pooler(login)
        threading.Thread(target=pooler.serve, args=[door], daemon=True).start()
        given = conninfo_to_dict(dsn)
        try:
            yield make_conninfo(
                host="127.0.0.1",
                port=door.getsockname()[1],
                user=given.get("user"),
                dbname=given.get("dbname"),
            )
        finally:
            door.shutdown(socket.SHUT_RDWR)


class Pooler:
    def __init__(self, login: psycopg.Connection[Any]) -> None:
        self._server = socket.socket(fileno=os.dup(login.fileno()))
        self._server.setblocking(True)
        reported = {name: login.info.parameter_status(name) for name in REPORTED}
        self._greeting = message(b"R", struct.pack("!i", 0)) + b"".join(
            message(b"S", f"{name}\0{value}\0".encode()) for name, value in reported.items()
        )
        self._numbers = count(1)
        self._session = threading.Lock()

    def serve(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError), self._server:
            while True:
                client, _ = door.accept()
                threading.Thread(target=self._attend, args=[client], daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), client:
            while struct.unpack("!i", self._startup(client)[:4])[0] in ENCRYPTION:
                client.sendall(b"N")
            key = struct.pack("!ii", next(self._numbers), 0)
            client.sendall(self._greeting + message(b"K", key) + message(b"Z", b"I"))
            while (first := receive(client))[:1] != b"X":
                with self._session:
                    self._transact(client, first)

    def _startup(self, client: socket.socket) -> bytes:
        (length,) = struct.unpack("!i", exactly(client, 4))
        return exactly(client, length - 4)

    def _transact(self, client: socket.socket, sent: bytes) -> None:
        """Passes messages between a client and the server, from the client's first message until the server's session is idle again."""
        owed, status = 0, b""
        while True:
            self._server.sendall(sent)
            owed += sent[:1] in {b"Q", b"S"}
            while (owed or status != b"I") and client not in select.select([client, self._server], [], [])[0]:
                answer = receive(self._server)
                client.sendall(answer)
                if answer[:1] == b"Z":
                    owed, status = owed - 1, answer[5:]
            if not owed and status == b"I":
                return
            try:
                sent = receive(client)
            except EOFError:
                sent = b"X"
            if sent[:1] == b"X":
                self._server.sendall(ROLLBACK)
                while owed >= 0:
                    owed -= receive(self._server)[:1] == b"Z"
                raise EOFError


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def receive(source: socket.socket) -> bytes:
    head = exactly(source, 5)
    return head + exactly(source, struct.unpack("!i", head[1:])[0] - 4)


def exactly(source: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = source.recv(size - len(got))
        if not part:
            raise EOFError
        got += part
    return got
