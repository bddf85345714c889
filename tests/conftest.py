"""One Postgres server for a whole run, one database for each test, copied from a migrated template."""

from __future__ import annotations

import gc
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import migrate
from pgqueue.runtime import origin
from tests.servers import create_database, drop_database, test_server

SERVER = "PGQUEUE_TEST_SERVER"
TEMPLATE = "PGQUEUE_TEST_TEMPLATE"
RUN = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """The controller starts the server before any worker exists; workers find it in the environment, as does a run of mutants."""
    if SERVER in os.environ or config.option.collectonly:
        return
    stack = ExitStack()
    admin = stack.enter_context(test_server())
    template = f"pgqueue_template_{secrets.token_hex(4)}"
    migrate.upgrade(create_database(admin, template))
    stack.callback(drop_database, admin, template)
    os.environ[SERVER], os.environ[TEMPLATE] = admin, template
    config.stash[RUN] = stack


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash:
        config.stash[RUN].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test is told while no garbage is collected.

    CPython 3.11 cannot parse while it parses, and pytest parses to show a failure. What a failed test of SQLAlchemy's asyncio
    leaves open would be finalized meanwhile, with a warning whose traceback is parsed too: pytest itself would end by that.
    """
    if call.excinfo is None:
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test, nor a command line's of a former test."""
    monkeypatch.setattr(origin.handed, "dsn", None)
    for name in list(os.environ):
        if (
            name.startswith("PG") and not name.startswith(("PGQUEUE_TEST", "PGQUEUE_PG_BIN"))
        ) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture
def admin() -> str:
    """The DSN of the server, for a role that may do everything."""
    return os.environ[SERVER]


@pytest.fixture
def empty_dsn(admin: str) -> Iterator[str]:
    """A database without pgqueue."""
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    yield create_database(admin, name)
    drop_database(admin, name)


@pytest.fixture
def dsn(admin: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    yield create_database(admin, name, os.environ[TEMPLATE])
    drop_database(admin, name)


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[..., Connection[Any]]]:
    """Opens connections to the test's database that are closed at its end."""
    with ExitStack() as stack:

        def open_one(*, autocommit: bool = True) -> Connection[Any]:
            return stack.enter_context(psycopg.connect(dsn, autocommit=autocommit))

        yield open_one


@pytest.fixture
def db(connect: Callable[..., Connection[Any]]) -> Connection[Any]:
    """An autocommit connection to look with."""
    return connect()


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    """An App on the test's database, without tasks."""
    app = App(dsn)
    yield app
    app.close()


@pytest.fixture
def role(admin: str, dsn: str) -> Iterator[Callable[..., str]]:
    """Makes logins that may do what is granted to them (SQL with ROLE for their name) and own nothing; gives their DSN."""
    made: list[str] = []

    def make(*grants: str) -> str:
        name = f"pgqueue_role_{secrets.token_hex(4)}"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"create role {name} login password 's3cr3t'".encode())
        made.append(name)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for grant in grants:
                connection.execute(grant.replace("ROLE", name).encode())
        return psycopg.conninfo.make_conninfo(dsn, user=name, password="s3cr3t")

    yield make
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop owned by {name} cascade".encode())
            connection.execute(f"drop role {name}".encode())
