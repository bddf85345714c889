"""Makes the data of a server that this process owns, and starts and stops this server."""
# ruff: noqa: S603  no part of a command here comes from outside

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from psycopg import pq

from pgqueue.dev.embedded.binaries import (
    executable_binaries,
    major_of,
    make_reachable,
    output_of,
    server_account,
)
from pgqueue.dev.embedded.home import (
    dsn_of,
    explained,
    log_since,
    log_size,
    major_with_data,
    make_private,
    open_lock,
    open_log,
    pause,
    socket_dir,
    try_lock,
)
from pgqueue.errors import EmbeddedPostgresError
from pgqueue.runtime.clock import monotonic

if sys.platform != "win32":
    import fcntl

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
# The views unite many day tables. To compile their plans takes seconds, and to run the plans takes milliseconds.
ALWAYS: Mapping[str, str] = MappingProxyType({"jit": "off"})
LONGEST_LOG = 10_000_000
PR_SET_PDEATHSIG = 1


class BusyError(EmbeddedPostgresError):
    """Another process owns the server in this directory."""


@dataclass
class Postgres:
    """A server that this process owns. On Linux, it also stops when the thread that started it ends."""

    dsn: str
    process: subprocess.Popen[bytes]
    _socket_dir: Path = field(repr=False)
    _owner: int = field(repr=False)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server; ``immediate``: as in a crash. ``start`` with the same directory starts it again, with the same DSN."""
        self.process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        self.process.wait()
        if self._owner >= 0:
            with contextlib.suppress(OSError):  # the directory is not empty after a crash
                self._socket_dir.rmdir()
            fcntl.flock(self._owner, fcntl.LOCK_UN)  # a forked child can have a copy of the descriptor
            os.close(self._owner)
            self._owner = -1


def start(data_dir: Path, *, settings: Mapping[str, str] = NO_SETTINGS, timeout: float = 60) -> Postgres:
    """Starts a server in ``data_dir`` and waits until it answers. Makes the directory if it is missing. The caller must stop the server."""
    deadline = monotonic() + timeout
    home = data_dir.resolve()
    with explained(home), contextlib.ExitStack() as undo:
        make_reachable(home)
        owner = open_lock(home / "owner")
        undo.callback(os.close, owner)
        if not try_lock(owner, fcntl.LOCK_EX):
            raise BusyError(f"The server in {home} belongs to another process.", do="stop that process first")
        if log_size(home) > LONGEST_LOG:
            with open_log(home) as log:
                os.ftruncate(log, 0)
        binaries = _binaries_for(home)
        _make_data(home, binaries, settings, deadline)
        _clear_pid_file(home, deadline)
        make_private(socket_dir(home))
        process = _run(home, binaries, settings, deadline)
        undo.pop_all()
    return Postgres(dsn_of(home), process, socket_dir(home), owner)


def _binaries_for(home: Path) -> Path:
    """Returns the binaries of the version that made the data in this directory. If it has none yet, those of any version."""
    made_by = major_with_data(home)
    if made_by is None or "PGQUEUE_PG_BIN" in os.environ:
        binaries = executable_binaries()
        if made_by in (None, major := major_of(binaries)):
            return binaries
        raise EmbeddedPostgresError(
            f"The data in {home} belong to Postgres {made_by}, but PGQUEUE_PG_BIN is the directory of Postgres {major}.",
            do=f"set PGQUEUE_EMBEDDED_DIR to another directory, or PGQUEUE_PG_BIN to Postgres {made_by}",
            facts={"binaries": str(binaries)},
        )
    try:
        return executable_binaries(made_by)
    except EmbeddedPostgresError as error:
        raise EmbeddedPostgresError(
            f"The data in {home} belong to Postgres {made_by}, which cannot be started here.",
            why=error.why,
            do=f"install Postgres {made_by}, or set PGQUEUE_EMBEDDED_DIR to another directory",
        ) from error


def _make_data(home: Path, binaries: Path, settings: Mapping[str, str], deadline: float) -> None:
    """Makes the data directory under another name, and renames it at the end. So an incomplete directory never has the right name."""
    data = home / "pgdata"
    if data.exists():
        return
    for left_over in home.glob("initdb-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=home))
    make_private(draft)
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions"]
    if settings.get("fsync") == "off":
        options.append("--no-sync")
    began = log_size(home)
    initdb = _launch(home, [binaries / "initdb", "-D", draft, *options])
    if initdb.wait(timeout=max(1.0, deadline - monotonic())):
        raise EmbeddedPostgresError(f"initdb failed in {home}.", why=log_since(home, began))
    draft.rename(data)


def _clear_pid_file(home: Path, deadline: float) -> None:
    """Removes the pid file that is left after a crash. Postgres does not start if any process of its account has the pid in that file.

    The caller has the lock ``owner``. So if the pid is a postmaster of this directory, it is an orphan, and is stopped. Any other process
    with this pid is not touched.
    """
    file = home / "pgdata" / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(file.read_text().split()[0])
        while f" -D {home / 'pgdata'} " in _command_line(pid):
            os.kill(pid, signal.SIGINT)
            pause(home, deadline)
    file.unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    if Path("/proc/self/cmdline").exists():
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    return output_of("ps", "-ww", "-o", "command=", "-p", str(pid))


def _run(home: Path, binaries: Path, settings: Mapping[str, str], deadline: float) -> subprocess.Popen[bytes]:
    entrance = str(socket_dir(home)).replace('"', '""')
    ours = {"listen_addresses": "", "unix_socket_directories": f'"{entrance}"', "port": "5432"}
    options = [f"--{name}={value}" for name, value in {**ALWAYS, **settings, **ours}.items()]
    while True:
        began = log_size(home)
        process = _launch(home, [binaries / "postgres", "-D", home / "pgdata", *options])
        try:
            while process.poll() is None:
                if answers(dsn_of(home)):
                    return process
                pause(home, deadline)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if "pre-existing shared memory block" not in (said := log_since(home, began)):
            raise EmbeddedPostgresError(f"Postgres does not start in {home}.", why=said)
        pause(home, deadline)  # sessions of a server that was killed have not ended yet


def _launch(home: Path, command: list[str | Path]) -> subprocess.Popen[bytes]:
    """Runs a program under the server's account, without the user's variables that change the port, the error texts or the sort order."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"LC_ALL": "C", "TZ": "UTC"}
    libraries = Path(command[0]).parents[1] / "lib"
    # Without this, extensions of the server that PGQUEUE_PG_BIN names could load an older libpq.
    if "PGQUEUE_PG_BIN" in os.environ and libraries.is_dir():
        environment["LD_LIBRARY_PATH"] = f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    with open_log(home) as log:
        return subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that Ctrl-C on the terminal does not stop the server
            preexec_fn=_stop_with_me() if sys.platform == "linux" else None,  # noqa: PLW1509 one system call
            **server_account(),
        )


def _stop_with_me() -> Callable[[], None]:
    """Returns a function that a child process calls at its start (Linux). It makes the child stop when the thread that started it ends."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_the_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # the parent ended before prctl was called
            os._exit(1)

    return ask_the_kernel


def answers(dsn: str) -> bool:
    """Returns whether a server at this DSN accepts sessions, or would do so if not all its connections were in use."""
    return pq.PGconn.ping(f"{dsn}&connect_timeout=2".encode()) == pq.Ping.OK
