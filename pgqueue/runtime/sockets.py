"""Sockets on which pgqueue serves."""

from __future__ import annotations

import socket


def listening_socket(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """Returns a socket that listens on a name or an address, with IPv4 or IPv6; port 0 takes a free one. Raises OSError."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=backlog)
