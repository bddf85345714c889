"""The plugin in runs of pytest of its own, on the server of our tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgqueue.integrations.testing.databases import PREFIX, database

pytest_plugins = ["pytester"]

SHOP = """
from pgqueue import App, Job

app = App(name="shop")

@app.task(name="ship")
def ship(job: Job, order: int) -> int:
    if order < 0:
        raise ValueError("no such order")
    return order

@app.task(name="order")
async def order(n: int) -> None:
    await ship.aenqueue(n)
"""
TESTS = """
import asyncio
import unittest
import pytest
from pgqueue.integrations.testing import PgQueueTestCase
from shop import app, order, ship

@pytest.mark.parametrize("n", [1, 2])
def test_in_the_transaction(pgqueue, pgqueue_connection, n):
    assert pgqueue_connection.execute("select count(*) from orders").fetchone() == (0,)
    pgqueue_connection.execute("insert into orders values (1)")
    order.enqueue(n)
    pgqueue.assert_enqueued(order, args={"n": n}, count=1)
    pgqueue.drain().assert_no_failures()
    pgqueue.assert_enqueued(ship, state="completed", count=1)

def test_a_unit(pgqueue_job):
    assert ship(pgqueue_job(ship), 7) == 7

@pytest.mark.anyio
async def test_with_anyio(pgqueue):
    await order.aenqueue(3)
    assert len(await pgqueue.adrain()) == 2

@pytest.mark.asyncio(loop_scope="session")
async def test_with_asyncio(pgqueue):
    await order.aenqueue(3)
    assert len(pgqueue.drain()) == 2

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
END_TO_END = """
from shop import order, ship

def test_with_a_worker(pgqueue_worker):
    assert pgqueue_worker.wait_for(ship.enqueue(5)).result == 5
    with pytest.raises(AssertionError, match="is retrying after 0 s"):
        failing = ship.enqueue(-1)
        while failing.job().state != "retrying":
            pass
        pgqueue_worker.wait_for(failing, timeout=0)

def test_rows_are_gone(pgqueue_worker, pgqueue_dsn):
    import psycopg
    with psycopg.connect(pgqueue_dsn) as connection:
        assert connection.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)
"""
CONFTEST = """
import psycopg
import pytest

@pytest.fixture(scope="session")
def pgqueue_prepare():
    def prepare(dsn):
        with psycopg.connect(dsn) as connection:
            connection.execute("create table orders (id int)")
    return prepare
"""
INI = """
[pytest]
pgqueue_app = shop:app
pythonpath = .
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture
def project(pytester: pytest.Pytester, admin: str) -> Iterator[pytest.Pytester]:
    pytester.makefile(".ini", pytest=INI)
    pytester.makepyfile(shop=SHOP, conftest=CONFTEST)
    pytester.plugins = []
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PYTEST_")}
    os.environ["PGQUEUE_TEST_DSN"] = admin
    yield pytester
    del os.environ["PGQUEUE_TEST_DSN"]
    os.environ.update(before)


# The plugins of our own tests that the run does not need take longer to import than the run itself.
PLUGINS = [
    word
    for name in (
        "xdist.plugin",
        "pytest_asyncio.plugin",
        "anyio.pytest_plugin",
        "pgqueue.integrations.pytest_plugin",
    )
    for word in ("-p", name)
]


def databases(admin: str) -> list[str]:
    with psycopg.connect(admin) as connection:
        found = connection.execute("select datname from pg_database where starts_with(datname, %s)", [PREFIX])
        return [name for (name,) in found]


def test_each_process_of_a_run_has_a_database(
    project: pytest.Pytester, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_shop=TESTS, test_end="import pytest\n" + END_TO_END)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    run = project.runpytest_subprocess("-n", "2", "--dist", "loadfile", *PLUGINS)
    run.assert_outcomes(passed=7)
    assert databases(admin) == []


def test_a_project_that_uses_nothing_of_it(project: pytest.Pytester) -> None:
    project.makefile(".ini", pytest="[pytest]\nfilterwarnings = error\n")
    os.environ["PGQUEUE_TEST_DSN"] = "postgresql://nowhere:1/none"
    project.makepyfile(
        conftest="",
        test_other="""
        import sys
        def test_other():
            assert not [name for name in sys.modules if name.startswith("pgqueue.") and "plugin" not in name and name != "pgqueue.integrations"]
        """,
    )
    run = project.runpytest_subprocess(
        "-p", "no:asyncio", "-p", "no:schemathesis", "-p", "no:randomly", "-p", "no:xdist"
    )
    run.assert_outcomes(passed=1)


def test_what_is_missing_is_said_in_one_sentence(project: pytest.Pytester) -> None:
    project.makefile(".ini", pytest="[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    project.makepyfile(test_shop="def test_one(pgqueue): pass\n")
    run = project.runpytest_inprocess("-p", "no:randomly", "-p", "no:xdist", "-p", "no:timeout")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["*The tests name no app of pgqueue: set pgqueue_app = module:app*"])
    assert "Traceback" not in run.stdout.str()


def test_databases_of_dead_processes_are_dropped(admin: str, tmp_path: Path) -> None:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create database {PREFIX}left".encode())
    with database(admin) as one, database(admin) as other:
        assert one != other
        assert len(databases(admin)) == 2
        with psycopg.connect(one) as connection:
            assert connection.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)
    assert databases(admin) == []
