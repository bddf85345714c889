"""Fixtures: an app without a DSN, and its queue in a transaction that is rolled back. The tests share one migrated database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.integrations.testing import QueueInTest, joined_queue
from tests.servers import create_database, drop_database
from tests.shared_server import Place


@pytest.fixture(scope="session")
def run_dsn(shared_server: Place) -> Iterator[str]:
    admin, template = shared_server
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    yield create_database(admin, name, template)
    drop_database(admin, name)


@pytest.fixture
def seen() -> list[object]:
    """What the handlers of a test have noted."""
    return []


@pytest.fixture
def conn(run_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(run_dsn) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def app() -> App:
    return App(name="shop")


@pytest.fixture
def queue(app: App, conn: Connection) -> Iterator[QueueInTest]:
    with joined_queue(app, conn) as queue:
        yield queue
