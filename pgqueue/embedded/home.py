"""A server's directory: where it is, who may enter, its locks, its log, and the time one waits for it."""

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

from pgqueue.clock import monotonic
from pgqueue.embedded.binaries import ROOT_HOME, find_binaries, is_root, major_of, server_account
from pgqueue.errors import EmbeddedPostgresError

if sys.platform != "win32":
    import fcntl

LONGEST_SOCKET_DIR = 86  # bytes; with the socket's name 100, and the limit is 103 (macOS) or 107 (Linux)


def default_data_dir() -> Path:
    """PGQUEUE_EMBEDDED_DIR, else this user's own place, which names the Postgres major."""
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
    if len(os.fsencode(near)) <= LONGEST_SOCKET_DIR and "," not in str(near):  # libpq reads a list of hosts
        return near
    return Path("/tmp", "pgqueue-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:16])  # noqa: S108 _make_private


def dsn_of(home: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(socket_dir(home)))}&port=5432"


def make_private(directory: Path) -> None:
    """Make a directory that only the server's account enters, or check that it is one."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    account = server_account()
    if account and directory.lstat().st_uid == 0:
        os.chown(directory, account["user"], account["group"], follow_symlinks=False)
    found = directory.lstat()
    if (found.st_mode, found.st_uid) != (stat.S_IFDIR | 0o700, account.get("user", os.geteuid())):
        raise EmbeddedPostgresError(
            f"{directory} is not private to the server.",
            why="somebody else made it or opened it",
            do="remove it",
        )


def open_lock(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)


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
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold a copy of the descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_log(home: Path) -> Iterator[int]:
    descriptor = os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def log_size(home: Path) -> int:
    return (home / "log").stat().st_size if (home / "log").exists() else 0


def log_since(home: Path, size: int) -> str:
    return (home / "log").read_bytes()[size:].decode(errors="replace")[-1000:].strip()


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
