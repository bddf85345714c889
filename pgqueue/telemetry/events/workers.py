"""Facts of workers and of their processes: begun, leased, blocked, stopped, replaced.

``why``: the reason in words. ``bug``: an error that must not happen; its log line has the whole traceback.
"""

from __future__ import annotations

from typing import NamedTuple


class WorkerStarted(NamedTuple):
    """The worker begins to claim. ``dsn``: without its password."""

    worker_id: int
    tasks: int
    queues: tuple[str, ...]
    slots: int
    executor: str
    dsn: str


class WorkerStopping(NamedTuple):
    """The worker was told to stop while ``running`` jobs ran."""

    worker_id: int
    running: int
    grace: float


class WorkerUsedUp(NamedTuple):
    """The worker drains, because it has reached a limit. ``is_replaced``: its supervisor replaces it."""

    worker_id: int
    pid: int
    why: str
    is_replaced: bool


class WorkerOrphaned(NamedTuple):
    """The supervisor of the worker is gone, so the worker drains."""

    worker_id: int


class WorkerFailed(NamedTuple):
    """The worker cannot go on, drains, and exits with ``code``."""

    worker_id: int
    why: str
    code: int
    bug: BaseException | None


class WorkerStopped(NamedTuple):
    """The worker has drained, and said goodbye."""

    worker_id: int


class JobsHandedBack(NamedTuple):
    """These many jobs still ran at the end of the grace, so the worker handed them back."""

    jobs: int


class LastOutcomesNotTaken(NamedTuple):
    """The database did not take the last outcomes in time, so those jobs will run again."""


class GoodbyeFailed(NamedTuple):
    worker_id: int
    why: str


class LeaseLost(NamedTuple):
    """The worker lost its lease. It gives up ``jobs`` jobs, and registers again."""

    worker_id: int
    jobs: int


class ListenerDeaf(NamedTuple):
    """LISTEN delivers nothing, so jobs are found by polling."""


# ------------------------------------------------------------------ a loop that does not turn


class LoopBlocked(NamedTuple):
    """``job``: the job whose handler blocks the loop, in words. ``others``: how many more jobs its chunk has. ``stack``: where the thread is."""

    worker_id: int
    seconds: float
    job: str | None
    others: int
    stack: str


class LoopTurned(NamedTuple):
    """The loop turns again, after ``seconds`` seconds."""

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
    """The jobs of a blocked loop are left to be rescued."""

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
    """Another process takes its place after ``pause`` seconds. ``code`` is None if it is unknown."""

    pid: int
    code: int | None
    pause: float


class ProcessSilent(NamedTuple):
    """The process has said nothing for ``seconds`` seconds, and is killed."""

    pid: int
    seconds: float


class ProcessNotEnded(NamedTuple):
    """The process does not end after its grace, and is killed."""

    pid: int


class LeaseNotEnded(NamedTuple):
    """The lease of a dead worker could not be ended, so its jobs wait until the lease runs out."""

    worker_id: int
    why: str


class SupervisorDeaf(NamedTuple):
    """The supervisor's listener failed, so jobs are found by polling."""

    bug: Exception
