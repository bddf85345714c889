"""A way to the server on which the answer to a COMMIT can get lost: it is carried out, and then the line is cut."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Line:
    """``cut_at``: what a client's message must hold for its answer to be lost, once; None: nothing."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._host, self._port = str(given.get("host")), int(given.get("port") or 5432)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._door.getsockname()[1], sslmode="disable")
        self.cut_at: bytes | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _to_server(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _carry(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, self._to_server() as server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (server if ready is client else client).sendall(data)
                    if ready is client and self.cut_at is not None and self.cut_at in data:
                        self.cut_at = None
                        server.recv(65536)  # the server has obeyed
                        return


@contextlib.contextmanager
def silencer(dsn: str) -> Iterator[Line]:
    line = Line(dsn)
    try:
        yield line
    finally:
        line.close()
