"""Finds the DSN of the database, converts it, and shows it without its password."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from pgqueue.config import read_file
from pgqueue.errors import NoDsnError
from pgqueue.model.setting import SECRET
from pgqueue.runtime import origin

if TYPE_CHECKING:
    from sqlalchemy import URL

DSN_SOURCES = (
    "--dsn",
    "PGQUEUE_DSN",
    "DATABASE_URL",
    "dsn in [tool.pgqueue] of pyproject.toml",
    "PGSERVICE, PGHOST, PGDATABASE",
)
HOSTS_AND_DATABASE = re.compile(
    r"(?:[^:/,]*|\[[0-9A-Fa-f:.]*\])(?::\d*)?(?:,(?:[^:/,]*|\[[0-9A-Fa-f:.]*\])(?::\d*)?)*(?:/.*)?", re.DOTALL
)
SETTING = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)")
SHOWN_SETTINGS = ("host", "hostaddr", "port", "dbname", "user", "service")
UNREADABLE = "(unreadable DSN)"


def redact(dsn: str) -> str:
    """Returns the DSN without its password, for messages. If the DSN cannot be parsed, returns none of it."""
    if not dsn.strip():
        return "libpq's PG* variables"
    if re.match(r"[\w+]+://", dsn):
        scheme, _, rest = dsn.partition("://")
        rest, _, query = rest.partition("?")
        credentials, at, hosts = rest.rpartition("@")  # the last @, because a password can contain an @, too
        if "@" in query or "#" in rest or not HOSTS_AND_DATABASE.fullmatch(hosts):
            return UNREADABLE
        user = credentials.partition(":")[0] + at
        shown = "&".join(f"{key}={value}" for key, value in parse_qsl(query) if key in SHOWN_SETTINGS)
        return f"{scheme}://{user}{hosts}" + (f"?{shown}" if shown else "")
    if not re.fullmatch(rf"\s*({SETTING.pattern}(\s+|$))*", dsn):
        return UNREADABLE
    return (
        " ".join(f"{key}={value}" for key, value in SETTING.findall(dsn) if key in SHOWN_SETTINGS)
        or "(DSN without a host)"
    )


def libpq_dsn(dsn: str) -> str:
    """Returns the DSN in libpq's form: SQLAlchemy's ``postgresql+driver://`` becomes ``postgresql://``."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", dsn.strip())


def sqlalchemy_url(dsn: str) -> URL:
    """Returns a SQLAlchemy URL for a libpq DSN, which is a URL or key=value pairs."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - only migrations need these
    from sqlalchemy import URL  # noqa: PLC0415

    parts = {key: str(value) for key, value in conninfo_to_dict(libpq_dsn(dsn)).items() if value is not None}
    return URL.create("postgresql+psycopg", query=parts)


def find_dsn(explicit: str | None = None) -> str:
    """Returns the DSN from the first of DSN_SOURCES that has one, in libpq's form. If none has one, raises NoDsnError, which lists them."""
    in_file = read_file().get("dsn")
    given = (
        explicit
        or origin.handed.dsn
        or os.environ.get("PGQUEUE_DSN")
        or os.environ.get("DATABASE_URL")
        or (None if in_file is None else SECRET.read(in_file, "dsn in [tool.pgqueue]"))
    )
    if given:
        return libpq_dsn(str(given))
    if any(os.environ.get(name) for name in ("PGSERVICE", "PGHOST", "PGDATABASE")):
        return ""
    raise NoDsnError(
        "No database is configured.",
        why="looked at, in this order: " + "; ".join(DSN_SOURCES),
        do="export PGQUEUE_DSN=postgresql://user@host/database; without a server: pgq dev -A module:app, or pgq demo",
    )


@cache
def server_of(dsn: str) -> tuple[str, int | None] | None:
    """Returns the address and the port of the first server of the DSN. None: the DSN names none, or cannot be read.

    If the server is reached by a socket of Unix, the address is the folder of the socket, and there is no port.
    """
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - only a traced process needs it

    try:
        parts = conninfo_to_dict(dsn)
    except Exception:  # noqa: BLE001 - psycopg's error contains the DSN, and so perhaps a password
        return None
    host = str(parts.get("host") or os.environ.get("PGHOST", "")).split(",")[0]
    port = str(parts.get("port") or os.environ.get("PGPORT", "5432")).split(",")[0]
    if not host:
        return None
    return host, int(port) if port.isdecimal() and not host.startswith("/") else None
