"""Settings: where they come from, what they may be, and how a DSN is shown.

Order: an explicit argument or flag, the environment, ``[tool.pgqueue]`` in the nearest pyproject.toml, the default.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pgqueue import origin
from pgqueue.errors import InvalidNameError, InvalidOptionError, InvalidSettingError, NoDsnError, shown
from pgqueue.nearest import rather

log = logging.getLogger("pgqueue")

QUEUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,62}", re.ASCII)
TASK_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,126}", re.ASCII)

DSN_PLACES = (
    "--dsn",
    "PGQUEUE_DSN",
    "DATABASE_URL",
    "dsn in [tool.pgqueue] of pyproject.toml",
    "PGSERVICE, PGHOST, PGDATABASE",
)
FILE_KEYS = (
    "app",
    "dsn",
    "queues",
    "concurrency",
    "executor",
    "processes",
    "poll",
    "grace",
    "lease",
    "heartbeat",
    "max_jobs",
    "max_rss",
    "patience",
    "crash_limit",
    "blocked",
    "wait_for_db",
    "log_jobs",
    "alerts",
)
EXECUTORS = ("async", "thread", "process")
DEFAULT_MAX_ATTEMPTS = 6
CRASH_LIMIT = 3
LONGEST = 365 * 86_400.0
MB = 1024 * 1024
SMALLEST, LARGEST = 16 * MB, 16 * MB * MB  # of --max-rss
DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)ms)?(?:(\d+(?:\.\d+)?)s?)?",
    re.ASCII,
)
UNITS = (86_400, 3600, 60, 0.001, 1)
SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", re.ASCII | re.IGNORECASE)

PLACE = re.compile(
    r"(?:[^:/,]*|\[[0-9A-Fa-f:.]*\])(?::\d*)?(?:,(?:[^:/,]*|\[[0-9A-Fa-f:.]*\])(?::\d*)?)*(?:/.*)?", re.DOTALL
)
PAIR = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)")
SHOWN = ("host", "hostaddr", "port", "dbname", "user", "service")
UNREADABLE = "(unreadable DSN)"


def check_name(kind: str, name: object) -> str:
    """Returns ``name``; raises InvalidNameError unless it may name a queue, a task or a schedule."""
    pattern = QUEUE_NAME if kind == "queue" else TASK_NAME
    if not isinstance(name, str) or not pattern.fullmatch(name):
        limit = 63 if kind == "queue" else 127
        raise InvalidNameError(
            f"{shown(name)} cannot name a {kind}.",
            do=f"use a letter or _ first, then letters, digits, '_', '.', ':' or '-', {limit} characters at most",
        )
    return name


def is_reserved(task: str) -> bool:
    """Whether pgqueue keeps the name for itself, as ``functions/is_reserved.sql`` has it: messages of alerts, and hooks."""
    return task.startswith("pgqueue.") or ":on_" in task


def check_free(name: object) -> str:
    """Returns ``name``; raises InvalidNameError unless a task of the user's may have it."""
    if is_reserved(checked := check_name("task", name)):
        raise InvalidNameError(
            f"{shown(name)} is a name that pgqueue keeps for itself.",
            do="use one that does not begin with 'pgqueue.' and holds no ':on_'",
        )
    return checked


def seconds(value: float | str | timedelta, what: str, *, past: bool = True) -> float:
    """Seconds of a number, a timedelta or a text such as ``90``, ``5m``, ``1h30m``, ``2d``; what is past is 0.

    Raises InvalidOptionError, naming ``what``, unless they are finite and at most a year, and not below 0 unless ``past`` is allowed.
    """
    least = -1e12 if past else 0.0
    number: object = value
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, str) and value.strip() and (match := DURATION.fullmatch(value.strip())):
        number = sum(float(part or 0) * unit for part, unit in zip(match.groups(), UNITS, strict=True))
    if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number <= LONGEST:
        raise InvalidOptionError(
            f"{what} is {shown(value)}.",
            do="give seconds, a timedelta or a text like 90s, 5m, 1h30m, a year at most"
            + ("" if past else " and not below 0"),
        )
    return max(float(number), 0.0)


def size(value: int | str, what: str) -> int:
    """Bytes of a number or a text such as ``512M``, ``1.5GiB`` (units of 1024); raises InvalidSettingError, naming ``what``."""
    match = SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give a size like 512M or 1.5G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def redact(dsn: str) -> str:
    """The DSN without its password, for messages; of a DSN that cannot be parsed nothing is shown."""
    if not dsn.strip():
        return "libpq's PG* variables"
    if re.match(r"[\w+]+://", dsn):
        scheme, _, rest = dsn.partition("://")
        rest, _, query = rest.partition("?")
        credentials, at, place = rest.rpartition("@")  # the last one: a password may hold others
        if "@" in query or not PLACE.fullmatch(place):
            return UNREADABLE
        user = credentials.partition(":")[0] + at
        shown = "&".join(f"{key}={value}" for key, value in parse_qsl(query) if key in SHOWN)
        return f"{scheme}://{user}{place}" + (f"?{shown}" if shown else "")
    if not re.fullmatch(rf"\s*({PAIR.pattern}(\s+|$))*", dsn):
        return UNREADABLE
    return (
        " ".join(f"{key}={value}" for key, value in PAIR.findall(dsn) if key in SHOWN)
        or "(DSN without a host)"
    )


def libpq_dsn(dsn: str) -> str:
    """The DSN as libpq reads it: SQLAlchemy's ``postgresql+driver://`` loses its driver."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", dsn.strip())


def sqlalchemy_url(dsn: str) -> Any:
    """A SQLAlchemy URL for a libpq DSN, URL or key=value alike."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - only migrations need either
    from sqlalchemy import URL  # noqa: PLC0415

    parts = {key: str(value) for key, value in conninfo_to_dict(libpq_dsn(dsn)).items() if value is not None}
    return URL.create("postgresql+psycopg", query=parts)


def find_dsn(explicit: str | None = None) -> str:
    """The DSN of the first place that has one, for libpq; raises NoDsnError naming the places."""
    file = read_file()
    given = (
        explicit
        or origin.handed.dsn
        or os.environ.get("PGQUEUE_DSN")
        or os.environ.get("DATABASE_URL")
        or file.get("dsn")
    )
    if given:
        return libpq_dsn(str(given))
    if any(os.environ.get(name) for name in ("PGSERVICE", "PGHOST", "PGDATABASE")):
        return ""
    raise NoDsnError(
        "No database is configured.",
        why="looked at, in this order: " + "; ".join(DSN_PLACES),
        do="export PGQUEUE_DSN=postgresql://user@host/database; without a server: pgq dev -A module:app, or pgq demo",
    )


def read_file(start: Path | None = None) -> dict[str, Any]:
    """``[tool.pgqueue]`` of the nearest pyproject.toml upward; raises InvalidSettingError on an unknown key."""
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        path = candidate / "pyproject.toml"
        if not path.is_file() or not _is_trusted(path, folder):
            continue
        try:
            tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettingError(f"{path} is not valid TOML: {error}") from None
        table = tools.get("pgqueue", {}) if isinstance(tools, dict) else None
        if not isinstance(table, dict):
            raise InvalidSettingError(f"[tool.pgqueue] of {path} is no table.")
        for key in table:
            if key not in FILE_KEYS:
                near = difflib.get_close_matches(key, FILE_KEYS, n=1)
                raise InvalidSettingError(
                    f"{path} has an unknown key {key!r} in [tool.pgqueue].",
                    do=f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(FILE_KEYS),
                )
        return dict(table)
    return {}


def _is_trusted(path: Path, folder: Path) -> bool:
    """Whether the file is the user's, the system's, or of the owner of the folder he works in, from which modules are imported anyway.

    Another user's, in a folder above, could choose the database, and the module that is imported.
    """
    if not hasattr(os, "geteuid"):
        return True
    owner = path.stat().st_uid
    if owner in (os.geteuid(), 0, folder.stat().st_uid):
        return True
    _tell_foreign(path, owner)
    return False


@cache
def _tell_foreign(path: Path, owner: int) -> None:
    log.warning("%s is not read, because it belongs to another user (%d)", path, owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker works. Times are seconds. Raises InvalidSettingError for values that cannot work."""

    queues: dict[str, int | None]
    concurrency: int = 10
    executor: str = "async"
    drain: bool = False
    listen: bool = True
    poll: float = 1.0
    grace: float = 30.0
    lease: float = 30.0
    heartbeat: float = 5.0
    crash_limit: int = CRASH_LIMIT
    blocked: float = 30.0  # seconds after which a process whose loop does not turn ends itself; 0: never
    patience: float = 60.0  # a job that has been due for longer is no longer always overtaken by urgent ones
    wait_for_db: float = 0.0
    max_jobs: int | None = None  # after so many, or this many bytes of memory, the process is to be replaced
    max_rss: int | None = None
    log_jobs: bool = False  # a line for each that has ended

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise InvalidSettingError(
                f"--executor is {self.executor!r}.", do=rather(self.executor, EXECUTORS)
            )
        if not isinstance(self.log_jobs, bool):
            raise InvalidSettingError(
                f"log_jobs in [tool.pgqueue] is {shown(self.log_jobs)}.", do="give true or false"
            )
        for name, low, high in (
            ("concurrency", 1, 10_000),
            ("poll", 0.01, 3600),
            ("grace", 0, 86_400),
            ("lease", 0.5, 86_400),
            ("heartbeat", 0.05, 28_800),
            ("crash_limit", 1, 1000),
            ("blocked", 0, 86_400),
            ("patience", 0, 31_536_000),
            ("wait_for_db", 0, 86_400),
            ("max_jobs", 1, 1_000_000_000),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                flag = "--" + name.replace("_", "-")
                raise InvalidSettingError(f"{flag} is {value:g}.", do=f"use a number from {low} to {high}")
        if self.max_rss is not None and not SMALLEST <= self.max_rss <= LARGEST:
            raise InvalidSettingError(
                f"--max-rss is {self.max_rss / MB:.3g}M.", do="use a size from 16M to 16T"
            )
        if self.heartbeat > self.lease / 3:
            raise InvalidSettingError(
                f"--heartbeat {self.heartbeat:g} s is too long for --lease {self.lease:g} s.",
                why="a lease must outlive two missed heartbeats",
                do=f"use --heartbeat {self.lease / 3:g} or less",
            )
        if not self.queues:
            raise InvalidSettingError("The worker has no queue to serve.", do="name one: -Q default")
