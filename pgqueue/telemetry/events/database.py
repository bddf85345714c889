"""Facts of connections, of statements that failed, and of settings files.

``dsn``: without its password. ``why``: an error in one line. ``bug``: an error that must not happen; its log line has the whole traceback.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class OutageBegun(NamedTuple):
    dsn: str
    why: str


class OutageOver(NamedTuple):
    seconds: float


class ConnectionBroke(NamedTuple):
    """The connection will be opened again. ``is_silent``: the server gave no answer in time."""

    name: str
    why: str
    is_silent: bool


class ConnectionNotClosed(NamedTuple):
    bug: BaseException


class TurnFailed(NamedTuple):
    """A service that repeats its work failed, and tries again. The same trouble is emitted once a minute at most."""

    service: str
    kind: Literal["conflict", "answer", "bug"]
    why: str
    pause: float
    bug: BaseException | None


class JobPassedOver(NamedTuple):
    """Statements over many jobs leave this job as it is."""

    job_id: int
    why: str


class JobGivenUp(NamedTuple):
    """The job made statements over many jobs fail, so it was made dead."""

    job_id: int
    task: str
    why: str


class JobNotGivenUp(NamedTuple):
    job_id: int
    why: str
    bug: BaseException


class LookoutFailed(NamedTuple):
    """The thread that waits for the results of jobs failed."""

    bug: BaseException


class SettingsNotTrusted(NamedTuple):
    """A settings file is not read, because it belongs to another user."""

    path: str
    owner: int
