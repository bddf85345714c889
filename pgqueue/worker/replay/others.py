"""Connections that the handler opens itself, in a replay: they can read, but a write on them fails.

pgqueue cannot roll back what such a connection commits. So their transactions are read-only by default. libpq, and with it psycopg and
Django, reads this default from PGOPTIONS. SQLAlchemy gets it for each connection that one of its pools gives out, with any driver.
A connection string with ``options`` of its own, and asyncpg without SQLAlchemy, do not read PGOPTIONS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pgqueue.database.statements.replay import READ_ONLY_SESSION

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

OPTION = "-c default_transaction_read_only=on"
DRIVERS = ("psycopg", "psycopg2", "sqlalchemy.dialects.postgresql")


@contextmanager
def read_only_by_default() -> Iterator[None]:
    """Makes the transactions of other connections read-only in this block."""
    before = os.environ.get("PGOPTIONS")
    os.environ["PGOPTIONS"] = f"{before} {OPTION}" if before else OPTION
    try:
        with _read_only_in_sqlalchemy():
            yield
    finally:
        if before is None:
            os.environ.pop("PGOPTIONS", None)
        else:
            os.environ["PGOPTIONS"] = before


@contextmanager
def _read_only_in_sqlalchemy() -> Iterator[None]:
    if "sqlalchemy.pool" not in sys.modules:
        yield
        return
    from sqlalchemy import event, pool  # noqa: PLC0415 - so that only users of SQLAlchemy wait for its import

    event.listen(pool.Pool, "checkout", _make_read_only)
    try:
        yield
    finally:
        event.remove(pool.Pool, "checkout", _make_read_only)


def _make_read_only(connection: DBAPIConnection, *_: object) -> None:
    """Called by SQLAlchemy with a connection of a driver, before it is used."""
    if not type(connection).__module__.startswith(DRIVERS):
        return
    with suppress(Exception):  # a broken connection: its first statement raises the error
        cursor = connection.cursor()
        cursor.execute(READ_ONLY_SESSION)
        cursor.close()
        connection.commit()
