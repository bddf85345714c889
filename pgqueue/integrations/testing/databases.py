"""Makes a migrated database for each process of a run of tests, and removes it at the end, or in the next run if the process was killed.

A template is migrated once, and stays on the server for later runs. Its name contains what it was made of, so another version of pgqueue
makes another one. Each process gets a copy. An advisory lock for as long as a copy is in use tells later runs whether its process lives.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from pgqueue.database import migrate
from pgqueue.database.driver_errors import explained
from pgqueue.database.dsn import libpq_dsn
from pgqueue.sql import functions, views

CREATING = 7_134_201_001  # the advisory lock of those who make or remove a database
PREFIX = "pgqueue_run_"


@contextmanager
def database(server: str) -> Iterator[str]:
    """Yields the DSN of a migrated database that belongs to this process alone."""
    server = libpq_dsn(server)
    name = f"{PREFIX}{secrets.token_hex(6)}"
    with explained(server), psycopg.connect(server, autocommit=True) as keeper:
        keeper.execute("select pg_advisory_lock(%s)", [_lock_of(name)])
        with _alone(keeper):
            _remove_left(keeper)
            template = _template(keeper, server)
            _create(keeper, name, template)
        try:
            yield with_database(server, name)
        finally:
            with _alone(keeper):
                _drop(keeper, name)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """While one session copies a template, Postgres refuses others, so they take turns."""
    connection.execute("select pg_advisory_lock(%s)", [CREATING])
    try:
        yield
    finally:
        connection.execute("select pg_advisory_unlock(%s)", [CREATING])


def _remove_left(connection: Connection) -> None:
    """Drops databases whose processes have died."""
    found = connection.execute(
        "select datname from pg_database where datname like %s", [PREFIX.replace("_", r"\_") + "%"]
    )
    for (name,) in found.fetchall():
        [(is_free,)] = connection.execute("select pg_try_advisory_lock(%s)", [_lock_of(name)]).fetchall()
        if is_free:
            _drop(connection, name)
            connection.execute("select pg_advisory_unlock(%s)", [_lock_of(name)])


def _template(connection: Connection, server: str) -> str:
    """Returns the name of the migrated template, which it makes if there is none. An unfinished one has another name, and is made again."""
    name = f"pgqueue_template_{_digest()}"
    unfinished = f"{name}_new"
    if not connection.execute("select from pg_database where datname = %s", [name]).fetchall():
        _drop(connection, unfinished)
        _create(connection, unfinished)
        migrate.upgrade(with_database(server, unfinished))
        connection.execute(
            sql.SQL("alter database {} rename to {}").format(sql.Identifier(unfinished), sql.Identifier(name))
        )
    return name


def _digest() -> str:
    """Returns a text that changes if the migrations, the functions or the views change."""
    made_of = [migrate.HEAD, *functions().values(), *views().values()]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]


def _create(connection: Connection, name: str, template: str | None = None) -> None:
    statement = sql.SQL("create database {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" template {} strategy file_copy").format(sql.Identifier(template))
    connection.execute(statement)


def _drop(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _lock_of(name: str) -> int:
    """Returns the key of the advisory lock of a database: a number of Postgres' type bigint."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def with_database(dsn: str, name: str) -> str:
    if "://" in dsn:
        return urlsplit(dsn)._replace(path="/" + quote(name, safe="")).geturl()
    return make_conninfo(dsn, dbname=name)
