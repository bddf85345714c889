"""The Postgres server that all systems share, and a new database for each measurement."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "max_connections": "1000",
}  # fsync and synchronous_commit keep their default, on, so that commits are durable
SHOWN = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "autovacuum")


@contextmanager
def server() -> Iterator[str]:
    """Yields the DSN of the server: ``PGQUEUE_BENCH_DSN`` if it is set, else the DSN of a new server, which is removed at the end."""
    if dsn := os.environ.get("PGQUEUE_BENCH_DSN"):
        yield dsn
        return
    from pgqueue.dev.embedded import start

    with tempfile.TemporaryDirectory(prefix="pgqueue-bench-") as directory:
        Path(directory).chmod(0o711)  # if root runs this, Postgres runs as the user nobody
        postgres = start(Path(directory) / "pg", settings=SETTINGS)
        try:
            yield postgres.dsn
        finally:
            postgres.stop()


@contextmanager
def fresh_database(server_dsn: str) -> Iterator[str]:
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield _with_database(server_dsn, name)
        finally:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def settle(dsn: str) -> None:
    """Analyzes all tables and makes a checkpoint, so that each measurement begins in the same state."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ANALYZE")
        conn.execute("CHECKPOINT")


def shown_settings(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn) as conn:
        return {name: _show(conn, name) for name in SHOWN}


def _show(conn: psycopg.Connection[Any], name: str) -> str:
    (value,) = conn.execute("SELECT current_setting(%s)", [name]).fetchone() or ("",)
    return value


def _with_database(dsn: str, name: str) -> str:
    """Returns the DSN with another database: replaces the path of a URL, or adds the name to a key=value string.

    All other parts of the DSN stay as the user wrote them.
    """
    old = conninfo_to_dict(dsn).get("dbname", "")
    if "://" not in dsn:
        return f"{dsn} dbname={name}"
    head, _, query = dsn.partition("?")
    head = head.removesuffix(f"/{old}").removesuffix("/") if old else head.removesuffix("/")
    return f"{head}/{name}" + (f"?{query}" if query else "")
