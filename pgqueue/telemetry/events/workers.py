"""Facts of workers and of their processes: begun, leased, blocked, stopped, replaced.

``why``: in words. ``bug``: an error that must not happen, told with its whole traceback.
"""

from __future__ import annotations

from typing import NamedTuple


class WorkerStarted(NamedTuple):
    """It begins to claim. ``dsn``: without its password."""

    worker_id: int
    tasks: int
    queues: tuple[str, ...]
    slots: int
    executor: str
    dsn: str


class WorkerStopping(NamedTuple):
    """It was told to stop while ``running`` jobs ran."""

    worker_id: int
    running: int
    grace: float


class WorkerUsedUp(NamedTuple):
    """It drains, because it has reached a limit; ``is_replaced`` by its supervisor."""

    worker_id: int
    pid: int
    why: str
    is_replaced: bool


class WorkerOrphaned(NamedTuple):
    """Its supervisor is gone, so it drains."""

    worker_id: int


class WorkerFailed(NamedTuple):
    """It cannot go on, drains, and exits with ``code``."""

    worker_id: int
    why: str
    code: int
    bug: BaseException | None


class WorkerStopped(NamedTuple):
    """It has drained, and said goodbye."""

    worker_id: int


class JobsHandedBack(NamedTuple):
    """They still ran at the end of the grace."""

    jobs: int


class LastOutcomesNotTaken(NamedTuple):
    """By the database in time, so those jobs will run again."""


class GoodbyeFailed(NamedTuple):
    worker_id: int
    why: str


class LeaseLost(NamedTuple):
    """The worker gives up so many jobs, and registers again."""

    worker_id: int
    jobs: int


class ListenerDeaf(NamedTuple):
    """LISTEN delivers nothing, so jobs are found by polling."""


# ------------------------------------------------------------------ a loop that does not turn


class LoopBlocked(NamedTuple):
    """``job``: the one whose handler it is in, in words; ``others``: of its chunk; ``stack``: where it is."""

    worker_id: int
    seconds: float
    job: str | None
    others: int
    stack: str


class LoopTurned(NamedTuple):
    """Again, after so many seconds."""

    worker_id: int
    seconds: float


class BlockageNotNoted(NamedTuple):
    worker_id: int
    error: Exception


class BlockedProcessEnded(NamedTuple):
    worker_id: int
    seconds: float
    job: str | None
    others: int
    why: str


class BlockedJobsNotSettled(NamedTuple):
    """They are left to be rescued."""

    worker_id: int
    bug: Exception


class PulseFailed(NamedTuple):
    bug: Exception


# ------------------------------------------------------------------ processes


class ChildNotStarted(NamedTuple):
    """The next try is after ``pause`` seconds."""

    error: Exception
    pause: float


class ProcessNotStarted(NamedTuple):
    error: Exception
    pause: float


class ProcessDied(NamedTuple):
    """Another takes its place after ``pause`` seconds. ``code`` is None if it is unknown."""

    pid: int
    code: int | None
    pause: float


class ProcessSilent(NamedTuple):
    """It is killed."""

    pid: int
    seconds: float


class ProcessNotEnded(NamedTuple):
    """It does not end after its grace, and is killed."""

    pid: int


class LeaseNotEnded(NamedTuple):
    """That of a dead worker: its jobs wait for the end of it."""

    worker_id: int
    why: str


class SupervisorDeaf(NamedTuple):
    """Its listener failed, so jobs are found by polling."""

    bug: Exception
