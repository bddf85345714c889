"""Tests of enqueuing on Django's connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest

from pgqueue.errors import AutocommitWarning, WrongConnectionError
from tests.stages.all_ways_to_enqueue import check, played


@pytest.fixture
def django(dsn: str) -> Iterator[Any]:
    """Yields the module ``django.db`` of a Django project. The database of the test is its default database."""
    settings = pytest.importorskip("django.conf").settings
    known = psycopg.conninfo.conninfo_to_dict(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": known["dbname"],
        "USER": known.get("user", ""),
        "PASSWORD": known.get("password", ""),
        "HOST": known.get("host", ""),
        "PORT": known.get("port", ""),
        "OPTIONS": {"server_side_binding": True},
    }
    other = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True)
    import django

    django.setup()
    import django.db.transaction
    from django.db.utils import ConnectionHandler

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        handler = ConnectionHandler({"default": database, "other": other})
        stack.callback(handler.close_all)
        patch.setattr(django.db, "connections", handler)
        patch.setattr(django.db.transaction, "connections", handler)
        patch.setitem(django.db.connection.__dict__, "_connections", handler)
        yield django.db


def test_an_enqueue_on_djangos_connection_joins_the_transaction_of_an_atomic_block(note, done, db, django):
    with django.transaction.atomic():
        played(note, done, django.connection)
        with suppress(ZeroDivisionError), django.transaction.atomic():
            note.using(django.connections["default"]).enqueue("taken back with its savepoint")
            raise ZeroDivisionError
    check(db)
    with suppress(ZeroDivisionError), django.transaction.atomic():
        note.using(django.connection).enqueue("taken back")
        raise ZeroDivisionError
    check(db)


def test_an_enqueue_on_djangos_connection_warns_outside_of_atomic_blocks(note, django):
    with pytest.warns(AutocommitWarning, match=r"transaction\.atomic"):
        note.using(django.connection).enqueue("alone")


def test_an_enqueue_is_refused_in_an_atomic_block_that_will_be_rolled_back(note, django):
    from django.db.transaction import TransactionManagementError

    with django.transaction.atomic():
        django.transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            note.using(django.connection).enqueue("in vain")


def test_a_connection_of_django_to_sqlite_is_refused(note, django):
    with pytest.raises(WrongConnectionError, match="Django's connection 'other' leads to sqlite"):
        note.using(django.connections["other"]).enqueue("a")
