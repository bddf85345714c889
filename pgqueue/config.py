"""Settings: where they come from, what they may be, and how a DSN is shown.

Order: an explicit argument or flag, the environment, ``[tool.pgqueue]`` in the nearest pyproject.toml, the default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pgqueue.errors import InvalidSettingError
from pgqueue.model.task import EXECUTORS
from pgqueue.model.units import MB
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import SettingsNotTrusted
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

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
CRASH_LIMIT = 3
SMALLEST, LARGEST = 16 * MB, 16 * MB * MB  # of --max-rss


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
    emit(SettingsNotTrusted(str(path), owner))


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
