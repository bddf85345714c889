"""The directory of a server: where it is, which account is allowed to enter it, its locks and its log."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pgqueue.dev.embedded.binaries import ROOT_HOME, find_binaries, is_root, major_of, server_account
from pgqueue.errors import EmbeddedPostgresError
from pgqueue.runtime.clock import monotonic

if sys.platform != "win32":
    import fcntl

LONGEST_SOCKET_DIR = 86  # bytes; the path of the socket then has 100 bytes, and macOS allows 103, Linux 107


def default_data_dir() -> Path:
    """Returns PGQUEUE_EMBEDDED_DIR if it is set, else a directory of this user for one major version of Postgres, such as ``pg17``.

    If such directories exist, takes the newest whose version can still be started. So the data stay in use when a newer Postgres is
    installed. ``PGQUEUE_PG_BIN`` chooses the version itself.
    """
    if given := os.environ.get("PGQUEUE_EMBEDDED_DIR"):
        return Path(given)
    home = _home_of_user()
    if "PGQUEUE_PG_BIN" not in os.environ:
        for major in _majors_with_data(home):
            if _is_installed(major):
                return home / f"pg{major}"
    return home / f"pg{major_of(find_binaries())}"


def data_that_cannot_start() -> list[Path]:
    """Returns the directories of this user whose version of Postgres is no longer there, newest first."""
    home = _home_of_user()
    return [home / f"pg{major}" for major in _majors_with_data(home) if not _is_installed(major)]


def major_with_data(data_dir: Path) -> str | None:
    """Returns the major version of the Postgres that made the data in a directory. None: the directory has no data yet."""
    try:
        return (data_dir / "pgdata" / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _majors_with_data(home: Path) -> list[str]:
    """Returns the major versions whose default directory below ``home`` has data, newest first."""
    majors = [each.name.removeprefix("pg") for each in home.glob("pg[0-9]*")]
    made = (major for major in majors if major.isdecimal() and major_with_data(home / f"pg{major}") == major)
    return sorted(made, key=int, reverse=True)


def _is_installed(major: str) -> bool:
    try:
        return major_of(find_binaries(major)) == major
    except EmbeddedPostgresError:
        return False


def _home_of_user() -> Path:
    if is_root():
        return ROOT_HOME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pgqueue"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pgqueue"


def socket_dir(home: Path) -> Path:
    near = home / "socket"
    # libpq would read a path with a comma as a list of hosts.
    if len(os.fsencode(near)) <= LONGEST_SOCKET_DIR and "," not in str(near):
        return near
    return Path("/tmp", "pgqueue-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:16])  # noqa: S108 _make_private


def dsn_of(home: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(socket_dir(home)))}&port=5432"


def make_private(directory: Path) -> None:
    """Makes a directory that only the server's account can enter. If it exists, checks that no other account can enter it."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    account = server_account()
    found = None
    with contextlib.suppress(OSError):  # it is no directory, but for example a link to a directory
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if account and os.fstat(descriptor).st_uid == 0:
                os.fchown(descriptor, account["user"], account["group"])
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    if found is None or (stat.S_IMODE(found.st_mode), found.st_uid) != (
        0o700,
        account.get("user", os.geteuid()),
    ):
        raise EmbeddedPostgresError(
            f"{directory} is not private to the server.",
            why="another user made it or opened it",
            do="remove it",
        )


def open_own(file: Path, flags: int) -> int:
    """Opens or makes a file of this user. Follows no link, because another user who can write to the folder could have made it."""
    descriptor = os.open(file, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(descriptor)
        raise EmbeddedPostgresError(
            f"{file} is not this user's own file.",
            why="another user made it, or a link to it",
            do="remove it",
        )
    return descriptor


def open_lock(lock: Path) -> int:
    return open_own(lock, os.O_RDWR)


def try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(lock: Path, deadline: float) -> Iterator[None]:
    descriptor = open_lock(lock)
    try:
        while not try_lock(descriptor, fcntl.LOCK_EX):
            pause(lock.parent, deadline)
        yield
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child can have a copy of the descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_log(home: Path) -> Iterator[int]:
    descriptor = open_own(home / "log", os.O_RDWR | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def log_size(home: Path) -> int:
    with open_log(home) as log:
        return os.fstat(log).st_size


def log_since(home: Path, size: int) -> str:
    with open_log(home) as log, open(log, "rb", closefd=False) as file:
        file.seek(size)
        return file.read().decode(errors="replace")[-1000:].strip()


def pause(home: Path, deadline: float) -> None:
    if monotonic() > deadline:
        raise EmbeddedPostgresError(f"The server in {home} was not ready in time.", do=f"read {home / 'log'}")
    time.sleep(0.02)


@contextlib.contextmanager
def explained(home: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(f"No server can be started in {home}.", why=str(error)) from error
