"""Looks at the headers of a request: which host it names, whether another web site sent it, and whether it comes from this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from pgqueue.errors import ForeignRequestError, UnknownHostError
from pgqueue.text.values import shown

Scope = Mapping[str, Any]  # what an ASGI server passes for each request

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})


def header(scope: Scope, name: bytes) -> str | None:
    """Returns a header of the request. If it is given twice, returns both values with a comma between them, which fits nothing."""
    found = [value for key, value in scope["headers"] if key.lower() == name]
    return b", ".join(found).decode("latin-1").strip() if found else None


def check_host(scope: Scope, allowed: Iterable[str]) -> None:
    """Raises UnknownHostError if the header Host is not an allowed name. This stops a page that rebinds its own name to this machine.

    ``allowed``: names without a port. ``*.example.com`` allows all names below example.com, and ``*`` allows every name.
    """
    given = header(scope, b"host")
    name = host_name(given or "")
    if not any(_is_allowed(name, pattern.lower()) for pattern in allowed):
        raise UnknownHostError(
            f"This server is not called {shown(given)}.",
            why="a request is served only if its header Host is an allowed name",
            do=f"if the name is right, add it to the hosts: {name}"
            if name.isprintable() and name
            else "send the header Host",
        )


def _is_allowed(name: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
    return bool(name) and name == pattern.strip("[]")


def host_name(host: str) -> str:
    """Returns the name in a header Host, in lower case, without its port. Empty if it is no name."""
    host = host.lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        is_well_formed = bool(bracket) and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name if is_well_formed else ""
    name, colon, port = host.partition(":")
    if (colon and not port.isdigit()) or any(sign in name for sign in " ,/@\\"):
        return ""
    return name.removesuffix(".")


def check_site(scope: Scope, trusted: Iterable[str] = ()) -> None:
    """Raises ForeignRequestError if a page of another web site makes a browser send this request.

    Browsers say in Sec-Fetch-Site whether the site is another one. Old browsers send only Origin. A program sends neither, and passes,
    because a page cannot make a program send a request. A link on another site may open a page here (mode ``navigate``), but nothing else.
    ``trusted``: origins that may send requests, such as ``https://intranet.example.com``.
    """
    is_safe = scope["method"] in SAFE
    site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
    if origin is not None and origin in trusted:
        return
    if site is not None:
        is_foreign = site not in {"same-origin", "none"}
        if is_safe:
            is_foreign = is_foreign and header(scope, b"sec-fetch-mode") != "navigate"
    else:
        is_foreign = origin is not None and _authority(origin) != (header(scope, b"host") or "").lower()
    if is_foreign:
        raise ForeignRequestError(
            "Another web site sent this request.",
            why=f"Sec-Fetch-Site is {shown(site)} and Origin is {shown(origin)}",
            do="send the request from a page of this server, or from a program",
        )


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower() or "?"
    except ValueError:
        return "?"


def client_address(scope: Scope) -> str:
    """Returns the address from which the request comes; empty if the server does not know it."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_from_here(scope: Scope) -> bool:
    """Whether a program on this machine sent the request to a name of this machine, and no proxy passed it on."""
    return (
        is_loopback(client_address(scope))
        and host_name(header(scope, b"host") or "") in LOOPBACK_NAMES
        and not any(key.lower() in FORWARDED for key, _ in scope["headers"])
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or an address means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return ((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address).is_loopback
