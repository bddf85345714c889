"""The pytest plugin: fixtures for the tests of an application (docs/testing.md). pytest loads it wherever pgqueue is installed.

So its import loads nothing but pytest, its fixtures do nothing until a test asks for one, and all its names begin with ``pgqueue``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pgqueue.app.app import App
    from pgqueue.integrations.testing import JobInTest, QueueInTest, WorkerInTest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgqueue")
    group.addoption(
        "--pgqueue-dsn",
        metavar="DSN",
        help="Postgres server for the tests; its role must be allowed to create databases.",
    )
    parser.addini("pgqueue_dsn", "Postgres server for the tests, as --pgqueue-dsn.")
    parser.addini("pgqueue_app", "The app under test: module:app.")


@pytest.fixture(scope="session")
def pgqueue_prepare() -> Callable[[str], object]:
    """Override it to make your tables: returns a function that gets the DSN of the new database, once for each process of the run."""
    return lambda _dsn: None


@pytest.fixture(scope="session")
def pgqueue_dsn(pytestconfig: pytest.Config, pgqueue_prepare: Callable[[str], object]) -> Iterator[str]:
    """The DSN of a migrated database that only this process of the run uses. Override it to use a database of your own."""
    from pgqueue.integrations.testing import RunOfTests  # noqa: PLC0415

    given = pytestconfig.getoption("pgqueue_dsn") or pytestconfig.getini("pgqueue_dsn") or None
    run = RunOfTests(given, getattr(pytestconfig, "workerinput", {}).get("testrunuid"))
    try:
        yield run.dsn(pgqueue_prepare)
    finally:
        run.close()


@pytest.fixture(scope="session")
def pgqueue_app_path(pytestconfig: pytest.Config) -> str | None:
    """``module:app`` from the setting ``pgqueue_app`` of pytest, PGQUEUE_APP, or ``app`` in ``[tool.pgqueue]``; None: it is set nowhere."""
    from pgqueue.ui.cli.common import named_app  # noqa: PLC0415

    return named_app(pytestconfig.getini("pgqueue_app") or None)


@pytest.fixture(scope="session")
def pgqueue_app(pgqueue_app_path: str | None) -> App:
    """The app under test. Override it to return your App."""
    from pgqueue.app.loading import load_app  # noqa: PLC0415

    if pgqueue_app_path is None:
        pytest.fail(
            "The tests name no app of pgqueue: set pgqueue_app = module:app in the configuration of pytest, or override the fixture pgqueue_app.",
            pytrace=False,
        )
    return load_app(pgqueue_app_path)


@pytest.fixture
def pgqueue_connection(pgqueue_dsn: str) -> Iterator[object]:
    """The test's own connection or session, in a transaction that is rolled back. Override it to give yours, of any driver."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(pgqueue_dsn) as connection:
        try:
            yield connection
        finally:
            connection.rollback()


@pytest.fixture
def pgqueue(pgqueue_app: App, pgqueue_connection: object) -> Iterator[QueueInTest]:
    """The jobs in the transaction of the test: ``assert_enqueued``, ``drain``, ``travel``. What the app enqueues joins it."""
    from pgqueue.integrations.testing import joined_queue  # noqa: PLC0415

    with joined_queue(pgqueue_app, pgqueue_connection) as queue:
        yield queue


@pytest.fixture
def pgqueue_job() -> Callable[..., JobInTest]:
    """Returns a function that makes a ``Job`` for the unit test of a handler: ``handler_job``."""
    from pgqueue.integrations.testing import handler_job  # noqa: PLC0415

    return handler_job


@pytest.fixture(scope="session")
def pgqueue_tables() -> list[str]:
    """Override it to name your tables that end-to-end tests write, such as ``shop.orders``, those with foreign keys first."""
    return []


@pytest.fixture(scope="session")
def _pgqueue_process(
    pgqueue_app: App, pgqueue_app_path: str | None, pgqueue_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerInTest]:
    from pgqueue.integrations.testing import WorkerInTest  # noqa: PLC0415

    log: Path = tmp_path_factory.mktemp("pgqueue") / "worker.log"
    worker = WorkerInTest(pgqueue_app, pgqueue_dsn, log, pgqueue_app_path)
    try:
        yield worker
    finally:
        worker.stop()


@pytest.fixture
def pgqueue_worker(_pgqueue_process: Any, pgqueue_tables: list[str]) -> Iterator[WorkerInTest]:
    """A real worker process on the run's database, to which the app's connections go. The rows of the test are removed at its end."""
    from pgqueue.integrations.testing import directed  # noqa: PLC0415

    worker: WorkerInTest = _pgqueue_process
    with directed(worker.app, worker.dsn):
        worker.start()
        try:
            yield worker
        finally:
            worker.clean(pgqueue_tables)
