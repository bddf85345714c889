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
    """Returns PGQUEUE_EMBEDDED_DIR if it is set, else a directory of this user for this major version of Postgres, such as ``pg17``."""
    if given := os.environ.get("PGQUEUE_EMBEDDED_DIR"):
        return Path(given)
    if is_root():
        home = ROOT_HOME
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support" / "pgqueue"
    else:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pgqueue"
    return home / f"pg{major_of(find_binaries())}"


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
