"""Fixtures. One Postgres server serves a whole run of tests. Each test gets a database of its own, which is a copy of a migrated template."""

from __future__ import annotations

import gc
import os
import secrets
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.runtime import origin
from tests import command_line
from tests.command_line import Done
from tests.servers import create_database, drop_database
from tests.shared_server import Place, SharedServer, ask

# Names of environment variables. A run of mutants sets the first two. The process that controls pytest-xdist's workers sets the third.
SERVER = "PGQUEUE_TEST_SERVER"
TEMPLATE = "PGQUEUE_TEST_TEMPLATE"
ADDRESS = "PGQUEUE_TEST_ADDRESS"
SHARED = pytest.StashKey[SharedServer]()
UNIT = Path(__file__).parent / "unit"


def pytest_configure(config: pytest.Config) -> None:
    """Sets variables of the environment. pytest-xdist configures its controller before it starts a worker, so the workers inherit them."""
    if SERVER in os.environ or ADDRESS in os.environ or config.option.collectonly:
        return
    config.stash[SHARED] = shared = SharedServer()
    if os.environ.get("PGQUEUE_TEST_PG"):
        # Starts the server before the first test needs it: the start can install Postgres binaries, and the workers must know the folder
        # of these binaries.
        shared.place()
    if config.getoption("numprocesses", None):
        os.environ[ADDRESS] = shared.listen()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Returns how many processes run the tests, if the command line does not say it.

    While a test waits for Postgres or for worker processes, its own process has nothing to do. So three processes keep two cores busy. A
    unit test seldom waits, and each process must first import all tests.
    """
    chosen = [Path(config.invocation_params.dir, argument.partition("::")[0]) for argument in config.args]
    return 2 if all(path.resolve().is_relative_to(UNIT) for path in chosen) else 3


@contextmanager
def _kept_bytecode(config: pytest.Config) -> Iterator[None]:
    """Keeps the bytecode of imported modules in pytest's cache, if PYTHONDONTWRITEBYTECODE forbids to write it beside the modules.

    Each process of a run imports hundreds of modules. Without bytecode, the processes compile all of them again, which costs a third of
    the CPU time of the unit tests. A run without pytest's cache (``-p no:cacheprovider``) keeps no bytecode.
    """
    if not sys.dont_write_bytecode or not config.pluginmanager.hasplugin("cacheprovider"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", False)
        patch.setattr(sys, "pycache_prefix", str(config.rootpath / config.getini("cache_dir") / "bytecode"))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Lets the garbage collector ignore all that is loaded before the first test: modules, tests, and the syntax trees of the package.

    All of this lasts as long as the run, so the collector would visit these objects in each of its full collections, and free none.
    """
    gc.disable()
    try:
        with _kept_bytecode(session.config):
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(config: pytest.Config) -> Generator[None, None, None]:
    """Keeps bytecode here, too, because the process that controls pytest-xdist's workers imports Hypothesis for the summary."""
    with _kept_bytecode(config):
        return (yield)


def pytest_collection_finish() -> None:
    """Lets examples of Hypothesis take as long as a busy machine needs. On a new checkout, the first example waits for tables of Unicode."""
    if hypothesis := sys.modules.get("hypothesis"):  # its import takes time, and some runs do not need it
        calm = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
        hypothesis.settings.register_profile("busy machine", **calm)
        hypothesis.settings.load_profile("busy machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests that have a long time limit of their own to the front, so that no process runs such a test alone at the end."""

    def limit(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return float(mark.args[0]) if mark else 0

    items.sort(key=limit, reverse=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SHARED in config.stash:
        os.environ.pop(ADDRESS, None)
        config.stash[SHARED].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns the garbage collector off while pytest formats the report of a failed test.

    To format a failure, pytest parses source code. A failed test that uses SQLAlchemy's asyncio can leave connections open. If the
    collector finalized one of these connections during the parsing, Python would show a warning, and would parse source code for the
    traceback of this warning. CPython 3.11 cannot begin a second parse inside the first, so pytest itself would crash.
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
    """Removes settings that come from the developer's shell or from the command line of an earlier test."""
    monkeypatch.setattr(origin.handed, "dsn", None)
    for name in list(os.environ):
        if (
            name.startswith("PG") and not name.startswith(("PGQUEUE_TEST", "PGQUEUE_PG_BIN"))
        ) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_server(pytestconfig: pytest.Config) -> Place:
    """Returns the server's DSN, and the name of the template database. The server starts when the first test needs this fixture."""
    if SERVER in os.environ:
        return os.environ[SERVER], os.environ[TEMPLATE]
    if address := os.environ.get(ADDRESS):
        return ask(address)
    return pytestconfig.stash[SHARED].place()


@pytest.fixture
def admin(shared_server: Place) -> str:
    """Returns the DSN of the server, with the role of a superuser."""
    return shared_server[0]


@pytest.fixture
def empty_dsn(admin: str) -> Iterator[str]:
    """Yields the DSN of a database without pgqueue."""
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    yield create_database(admin, name)
    drop_database(admin, name)


@pytest.fixture
def dsn(shared_server: Place) -> Iterator[str]:
    """Yields the DSN of a migrated database that only this test uses."""
    admin, template = shared_server
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    yield create_database(admin, name, template)
    drop_database(admin, name)


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[..., Connection[Any]]]:
    """Yields a function that opens connections to the test's database. The connections are closed when the test ends."""
    with ExitStack() as stack:

        def open_one(*, autocommit: bool = True) -> Connection[Any]:
            return stack.enter_context(psycopg.connect(dsn, autocommit=autocommit))

        yield open_one


@pytest.fixture
def db(connect: Callable[..., Connection[Any]]) -> Connection[Any]:
    """Returns an autocommit connection to the test's database."""
    return connect()


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    """Yields an App on the test's database, without tasks."""
    app = App(dsn)
    yield app
    app.close()


@pytest.fixture
def role(admin: str, dsn: str) -> Iterator[Callable[..., str]]:
    """Yields a function that makes a role. The role can log in, owns nothing, and has the rights of the statements ``grants``.

    In these statements, the word ROLE stands for the name of the new role. The function returns a DSN with this role.
    """
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


@pytest.fixture
def pgq(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Returns a function that runs ``pgq …`` on the test's database, in a folder with ``shop.py``.

    The command runs in the process of the tests, because to start a new process would take longer.
    """
    from pgqueue.ui import cli

    command_line.shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in {"PGQUEUE_DSN": dsn, "PGQUEUE_APP": "shop:app"}.items():
        monkeypatch.setenv(name, value)

    def play(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["pgq", *words])
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        if "shop" in sys.modules:
            sys.modules["shop"].app.close()
        return Done(caught.value.code or 0, *capfd.readouterr())

    return play
