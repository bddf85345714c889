"""A proxy to the database that fails as networks do. It goes silent, without FIN or RST, or it cuts a connection before an answer arrives."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(make_conninfo(dsn, sslmode="disable", gssencmode="disable"))
        self._directory, self._host, self._port = "", str(parts.get("host")), str(parts.get("port", 5432))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(
            dsn, host="127.0.0.1", port=self._door.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        # The application_name of the connections that are silent. If it is "", all connections are silent. If it is None, no connection is
        # silent.
        self.silent: str | None = None
        self.new_too = False  # whether connections that are made during the silence are silent too
        # If a client's message contains these bytes, the proxy cuts the connection and does not pass the answer on. It does so only once.
        self.cut_at: bytes | None = None
        self.answers = True  # whether new connections reach the server; otherwise nobody ever answers them
        self.delivers = True  # whether the server gets the message that contains ``cut_at``
        # How many pieces of data clients have sent. If each client waits for its answers, this is the number of round trips.
        self.requests = 0
        self.ended = 0  # how many connections of clients have ended
        self._sockets: list[socket.socket] = []
        self.over = threading.Event()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._door.accept()
                if not self.answers:
                    self._sockets.append(client)
                    continue
                server = self._reach()
                self._sockets += [client, server]
                mine: dict[str, Any] = {"born_silent": self.silent is not None}
                for upward in (True, False):
                    pair = (client, server) if upward else (server, client)
                    threading.Thread(target=self._pump, args=[*pair, mine, upward], daemon=True).start()

    def _reach(self) -> socket.socket:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, int(self._port)))

    def _pump(self, source: socket.socket, sink: socket.socket, mine: dict[str, Any], upward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if upward and "name" not in mine and (at := data.find(b"application_name\0")) >= 0:
                    mine["name"] = data[at + 17 :].split(b"\0")[0].decode()
                self.requests += upward
                while self._is_silent(mine) and not self.over.wait(0.05):
                    pass
                if upward and self.cut_at is not None and self.cut_at in data:
                    self.cut_at, mine["cut"] = None, True
                    if not self.delivers:
                        break
                if not upward and "cut" in mine:
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.ended += upward

    def _is_silent(self, mine: dict[str, Any]) -> bool:
        if self.silent is None or (mine["born_silent"] and not self.new_too):
            return False
        return self.silent in ("", mine.get("name"))

    def close(self) -> None:
        self.over.set()
        for end in [self._door, *self._sockets]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def proxy_to(dsn: str) -> Iterator[Proxy]:
    proxy = Proxy(dsn)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
