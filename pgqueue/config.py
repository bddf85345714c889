"""The settings of a worker, and the reading of pyproject.toml for all settings.

These places are tried in this order: an explicit argument or flag, the environment, ``[tool.pgqueue]`` in the nearest
pyproject.toml, the default. The first place that has a setting decides.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from pgqueue.errors import InvalidSettingError
from pgqueue.model.names import EXECUTORS
from pgqueue.model.redaction import NAMES as SECRET_NAMES
from pgqueue.model.redaction import Names
from pgqueue.model.setting import (
    COUNT,
    KEY,
    NAMES,
    SECONDS,
    SIZE,
    SWITCH,
    TEXT,
    TEXTS,
    Given,
    Setting,
    check_all,
    checked_table,
    read_given,
    setting,
    settings_of,
)
from pgqueue.model.units import MB
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import SettingsNotTrusted

DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker works. Times are seconds. Raises InvalidSettingError for values that cannot work."""

    queues: dict[str, int | None] = field(
        metadata={
            KEY: Setting(
                kind=NAMES,
                help="Queues to serve. A number is the number of slots for that queue: mail:20,shop.*,default. "
                "* stands for anything. Default: the queues of the app's tasks, and the queue default.",
                flags=("-Q", "--queues"),
            )
        }
    )
    concurrency: int = setting(
        COUNT,
        10,
        "Jobs that run at the same time in each process.",
        low=1,
        high=10_000,
        flags=("-c", "--concurrency"),
    )
    executor: str = setting(
        TEXT, "async", "Where handlers run. async: async def on the loop, def on threads.", words=EXECUTORS
    )
    processes: int = setting(COUNT, 1, "Worker processes to run.", low=1, high=256)
    drain: bool = setting(SWITCH, False, "Work until no job is due, then exit.", in_file=False)
    grace: float = setting(SECONDS, 30.0, "How long running jobs can go on after SIGTERM.", low=0, high=DAY)
    listen: bool = setting(
        SWITCH,
        True,
        "Do not listen for notifications, only poll: for poolers that pass no notifications on.",
        flags=("--no-listen",),
        in_file=False,
    )
    poll: float = setting(
        SECONDS, 1.0, "Longest time between two searches for jobs. While wake-ups arrive, it is 1.8 times as long.",
        low=0.01, high=3600,
    )  # fmt: skip
    lease: float = setting(
        SECONDS, 30.0, "If a worker is silent for this long, its jobs are rescued.", low=0.5, high=DAY
    )
    heartbeat: float = setting(SECONDS, 5.0, "How often a worker renews its lease.", low=0.05, high=28_800)
    crash_limit: int = setting(
        COUNT, 3, "A job is dead after this many crashes of its workers.", low=1, high=1000
    )
    blocked: float = setting(
        SECONDS, 30.0, "A process whose event loop is blocked for this long ends, and its jobs run elsewhere. "
        "0: never, for debuggers.", low=0, high=DAY,
    )  # fmt: skip
    patience: float = setting(
        SECONDS, 60.0, "Jobs that have been due for longer than this get a share of the claims, even if many urgent jobs wait.",
        low=0, high=365 * DAY,
    )  # fmt: skip
    wait_for_db: float = setting(
        SECONDS, 0.0, "How long to keep trying to reach the database.", low=0, high=DAY
    )
    max_jobs: int | None = setting(
        COUNT, None, "Drain a process that has run N jobs. With --processes, another process takes its place; otherwise the worker exits with 0.",
        low=1, high=1_000_000_000,
    )  # fmt: skip
    max_rss: int | None = setting(
        SIZE, None, "Replace a process that uses more memory than SIZE (child processes not counted), for example 512M.",
        low=16 * MB, high=16 * MB * MB,
    )  # fmt: skip
    log_jobs: bool = setting(SWITCH, False, "Log a line for each job that has ended.")
    keep_logs: bool = setting(
        SWITCH,
        False,
        "Store the lines that handlers log, from INFO on, with their jobs. A task's own keep_logs goes first.",
    )
    audit_retention: float = setting(
        SECONDS, 90.0 * DAY, "How long the rows of operators' actions are kept. The setting of the worker that leads is used.",
        low=DAY, high=3650 * DAY,
    )  # fmt: skip
    log_format: str = setting(
        TEXT, "auto", "text: lines for people. json: one JSON object a line. Both also for your own loggers, if you have configured no "
        "handler. auto: text, for pgqueue's lines only.", words=("auto", "text", "json"),
    )  # fmt: skip
    health_port: int | None = setting(
        COUNT,
        None,
        "Answer probes on this port: /livez, /readyz, /startupz and /metrics.",
        low=1,
        high=65_535,
    )
    health_host: str = setting(TEXT, "127.0.0.1", "The address for --health-port. In a container: 0.0.0.0.")

    def __post_init__(self) -> None:
        check_all(self)
        if self.heartbeat > self.lease / 3:
            raise InvalidSettingError(
                f"--heartbeat {self.heartbeat:g} s is too long for --lease {self.lease:g} s.",
                why="a lease must outlive two missed heartbeats",
                do=f"use --heartbeat {self.lease / 3:g} or less",
            )
        if not self.queues:
            raise InvalidSettingError("The worker has no queue to serve.", do="give a queue: -Q default")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowSettings:
    """What people see of jobs, in every process that shows them."""

    redact: tuple[str, ...] = setting(
        TEXTS, (), "Further names of keys whose values are always masked, besides password, token and the like."
    )  # fmt: skip


SETTINGS = settings_of(WorkerSettings)
SHOW_SETTINGS = settings_of(ShowSettings)
FILE_KEYS = (
    "app",
    "dsn",
    *(name for name, said in SETTINGS.items() if said.in_file),
    *SHOW_SETTINGS,
    "alerts",
)


def read_worker(flags: Mapping[str, object]) -> dict[str, object]:
    """Reads each setting from the flags, the environment or pyproject.toml, and converts it to its type.

    Raises InvalidSettingError if a value is wrong.
    """
    return read_given(WorkerSettings, worker_sources(flags))


def worker_sources(flags: Mapping[str, object]) -> ChainMap[str, Given]:
    """Returns each setting of a worker that is given anywhere, with its place. The first place that gives it wins."""
    given: dict[str, Given] = {
        name: (value, SETTINGS[name].flag) for name, value in flags.items() if value is not None
    }
    in_file: dict[str, Given] = {
        name: (value, f"{name} in [tool.pgqueue]") for name, value in read_file().items()
    }
    return ChainMap(given, _in_environment(), in_file)


def _in_environment() -> dict[str, Given]:
    """Returns the settings of a worker whose variables are set: PGQUEUE_CONCURRENCY for ``concurrency``.

    Kubernetes sets variables for each service of a namespace: a service ``pgqueue-health`` makes PGQUEUE_HEALTH_PORT=tcp://10.0.0.1:8081.
    Such a value is no setting, so it is left out.
    """
    found: dict[str, Given] = {}
    for name, said in SETTINGS.items():
        text = os.environ.get(said.variable, "") if said.variable else ""
        if text and not text.startswith(("tcp://", "udp://", "sctp://")):
            found[name] = (said.kind.from_text(text), said.variable)
    return found


@cache
def secret_names() -> Names:
    """Returns the names of keys whose values are always masked: the default ones, and those of ``redact`` and PGQUEUE_REDACT.

    Raises InvalidSettingError if these cannot be read. The settings are read once in a process.
    """
    given: dict[str, Given] = {}
    if (in_environment := os.environ.get("PGQUEUE_REDACT")) is not None:
        given["redact"] = in_environment, "PGQUEUE_REDACT"
    elif (in_file := read_file().get("redact")) is not None:
        given["redact"] = in_file, "redact in [tool.pgqueue]"
    names = ShowSettings(**cast("dict[str, Any]", read_given(ShowSettings, given))).redact
    return SECRET_NAMES.union(name.lower().replace("-", "_").replace(" ", "_") for name in names if name)


def working_folder() -> Path | None:
    """Returns the folder in which this process is. None: the folder was removed, or this user is not allowed to find it."""
    try:
        return Path.cwd()
    except OSError:
        return None


def read_file(start: Path | None = None) -> dict[str, object]:
    """Reads ``[tool.pgqueue]`` of the nearest pyproject.toml, in the folder or above it. Folders that it may not search are left out.

    Raises InvalidSettingError for an unknown key, and for a file that cannot be read.
    """
    found = found_file(start)
    return {} if found is None else checked_table(found[1], FILE_KEYS, f"[tool.pgqueue] of {found[0]}")


def found_file(start: Path | None = None) -> tuple[Path, dict[str, object]] | None:
    """Returns the path of that file, and its table, whose keys and values are not checked. None: there is no such file.

    Raises InvalidSettingError for a file that cannot be read.
    """
    start = start or working_folder()
    if start is None:
        return None
    folder = start.resolve()
    for candidate in (folder, *folder.parents):
        path = candidate / "pyproject.toml"
        if not _is_trusted(path, folder):
            continue
        try:
            tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettingError(f"{path} is not valid TOML: {error}") from None
        except OSError as error:
            raise InvalidSettingError(
                f"{path} cannot be read: {error.strerror}",
                do="let this user read the file, or run this in a folder outside the folder of the file",
            ) from None
        table = tools.get("pgqueue", {}) if isinstance(tools, dict) else None
        return path, checked_table(table, table or (), f"[tool.pgqueue] of {path}")
    return None


def _is_trusted(path: Path, folder: Path) -> bool:
    """Returns whether the file exists, and belongs to the user, to root, or to the owner of the working folder, whose modules are imported.

    Without this check, another user's file in a folder above could choose the database and the module to import.
    """
    try:
        file = path.stat()
    except OSError:  # There is no such file, or this user is not allowed to search the folder.
        return False
    if not stat.S_ISREG(file.st_mode):
        return False
    if not hasattr(os, "geteuid") or file.st_uid in (os.geteuid(), 0, _owner(folder)):
        return True
    _warn_of_foreign(path, file.st_uid)
    return False


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:  # This user is not allowed to search a folder above it.
        return None


@cache
def _warn_of_foreign(path: Path, owner: int) -> None:
    emit(SettingsNotTrusted(str(path), owner))
