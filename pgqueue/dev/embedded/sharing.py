"""A server that several processes share. A supervisor process owns the server, and stops it after its last user has ended."""
# ruff: noqa: S603  no part of a command here comes from outside

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pgqueue.dev.embedded.binaries import make_reachable
from pgqueue.dev.embedded.home import (
    default_data_dir,
    dsn_of,
    explained,
    locked,
    open_lock,
    open_log,
    pause,
    try_lock,
)
from pgqueue.dev.embedded.server import NO_SETTINGS, BusyError, Postgres, answers, start
from pgqueue.errors import EmbeddedPostgresError
from pgqueue.runtime.clock import monotonic

if sys.platform != "win32":
    import fcntl

WATCH_SECONDS = 0.2


@dataclass
class EmbeddedServer:
    """A shared server that this process uses. It is in use until ``close`` is called, or until the process ends."""

    dsn: str
    _users: int = field(repr=False)

    def close(self) -> None:
        """Ends the use of the server by this process. The server stops soon after its last user has ended."""
        if self._users >= 0:
            os.close(self._users)
            self._users = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def running(data_dir: Path | None = None) -> str | None:
    """Returns the DSN of the server that runs in ``data_dir``. None: no server runs there. Starts nothing."""
    if sys.platform == "win32":
        return None
    try:
        home = (data_dir or default_data_dir()).resolve()
        owner = os.open(home / "owner", os.O_RDWR | os.O_NOFOLLOW)
    except (EmbeddedPostgresError, OSError):
        return None
    try:
        return None if try_lock(owner, fcntl.LOCK_SH) or not answers(dsn_of(home)) else dsn_of(home)
    finally:
        os.close(owner)


def acquire(
    data_dir: Path | None = None, *, settings: Mapping[str, str] = NO_SETTINGS, timeout: float = 60
) -> EmbeddedServer:
    """Starts the server in ``data_dir``, or joins it if it runs. ``settings`` are used only if this call starts the server."""
    deadline = monotonic() + timeout
    home = (data_dir or default_data_dir()).resolve()
    with explained(home), contextlib.ExitStack() as undo:
        make_reachable(home)
        users = open_lock(home / "users")
        undo.callback(os.close, users)
        with locked(home / "mutex", deadline):
            # The supervisor has this lock while it checks whether the server has a user.
            while not try_lock(users, fcntl.LOCK_SH):
                pause(home, deadline)
            while not (dsn := running(home)):
                _start_supervisor(home, settings, deadline)
        undo.pop_all()
    return EmbeddedServer(dsn, users)


def _start_supervisor(home: Path, settings: Mapping[str, str], deadline: float) -> None:
    """Starts a supervisor. Returns after it has started the server, or has found that another process owns one."""
    pause(home, deadline)
    arguments = [
        str(home),
        str(max(1.0, deadline - monotonic())),
        *(f"{k}={v}" for k, v in settings.items()),
    ]
    with open_log(home) as log:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "pgqueue.dev.embedded", *arguments],
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(each).resolve()) for each in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            check=False,
        ).stdout
    error = (
        json.loads(answer)
        if answer
        else {"what": "The supervisor of the server ended without an answer.", "do": f"read {home / 'log'}"}
    )
    if error:
        raise EmbeddedPostgresError(**error)


def supervise(directory: str, seconds: str, *settings: str) -> None:
    if os.fork():
        # So the supervisor is not a child of the user's process, which would have to wait for the end of its child.
        os._exit(0)
    home, server, answer = Path(directory), None, {}
    try:
        server = start(home, settings=dict(each.split("=", 1) for each in settings), timeout=float(seconds))
    except BusyError:
        pass  # a server already runs in this directory
    except EmbeddedPostgresError as error:
        answer = {"what": error.what, "why": error.why, "do": error.do, "facts": error.facts}
    os.write(1, json.dumps(answer).encode())
    os.dup2(2, 1)  # closes the pipe, so the reader sees the end of the answer
    if server:
        signal.signal(signal.SIGTERM, lambda *_: server.process.send_signal(signal.SIGINT))
        _stop_after_last_user(home, server)


def _stop_after_last_user(home: Path, server: Postgres) -> None:
    users, mutex = open_lock(home / "users"), open_lock(home / "mutex")
    while server.process.poll() is None:
        time.sleep(WATCH_SECONDS)
        if not try_lock(users, fcntl.LOCK_EX):
            continue
        if try_lock(mutex, fcntl.LOCK_EX):
            server.stop()  # this process has both locks, so a program that arrives now waits until the server has stopped
        else:
            # Another program has ``mutex``, because it is about to use the server.
            fcntl.flock(users, fcntl.LOCK_UN)
