"""The facts about workers and their processes: they start, lose their lease, are blocked, stop, and are replaced.

``why`` is the reason in words. ``bug`` is an error that no correct code would raise, so its log line shows the whole traceback.
"""

from __future__ import annotations

from typing import NamedTuple


class WorkerStarted(NamedTuple):
    """The worker begins to claim. ``dsn`` has no password."""

    worker_id: int
    tasks: int
    queues: tuple[str, ...]
    slots: int
    executor: str
    dsn: str


class WorkerStopping(NamedTuple):
    """The worker was asked to stop while ``running`` jobs ran."""

    worker_id: int
    running: int
    grace: float


class WorkerQuiet(NamedTuple):
    """A person has asked the worker to take no more jobs. It does not end."""

    worker_id: int


class WorkerUsedUp(NamedTuple):
    """The worker drains, because it has run many jobs or uses much memory. ``is_replaced``: whether a supervisor replaces it."""

    worker_id: int
    pid: int
    why: str
    is_replaced: bool


class WorkerOrphaned(NamedTuple):
    """The supervisor of the worker is gone, so the worker drains."""

    worker_id: int


class WorkerEmbedded(NamedTuple):
    """A worker begins on a thread of the process that embeds it, such as a web server."""

    pid: int


class EmbeddedWorkerEnded(NamedTuple):
    """An embedded worker has ended, although the process that embeds it goes on. ``bug``: None if ``why`` says all."""

    why: str
    bug: BaseException | None


class WorkerFailed(NamedTuple):
    """The worker cannot go on. It drains, and exits with ``code``."""

    worker_id: int
    why: str
    code: int
    bug: BaseException | None


class WorkerStopped(NamedTuple):
    """The worker has drained, and has marked its row in the database as stopped."""

    worker_id: int


class JobsHandedBack(NamedTuple):
    """``jobs`` jobs still ran at the end of the grace period, so the worker released them."""

    jobs: int


class LastOutcomesNotTaken(NamedTuple):
    """The worker had to end before it could write its last outcomes, so their jobs will run again."""


class CountsLost(NamedTuple):
    """Counts for ``pgqueue.stats`` are lost, because they could not be written. ``lost``: how many starts and ends of attempts they count."""

    lost: int
    why: str


class GoodbyeFailed(NamedTuple):
    worker_id: int
    why: str


class LeaseLost(NamedTuple):
    """The worker lost its lease, so the attempts of its ``jobs`` running jobs are lost, too. The worker registers again."""

    worker_id: int
    jobs: int


class ListenerDeaf(NamedTuple):
    """LISTEN delivers nothing, so jobs are found by polling."""


# ------------------------------------------------------------------ a blocked loop


class LoopBlocked(NamedTuple):
    """``job`` describes the job whose handler blocks the loop. Its chunk has ``others`` more jobs.

    ``stack`` is the stack of the loop's thread.
    """

    worker_id: int
    seconds: float
    job: str | None
    others: int
    stack: str


class LoopTurned(NamedTuple):
    """The loop runs again, after it was blocked for ``seconds`` seconds."""

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
    """The jobs of a blocked loop could not be settled, so another worker will rescue them."""

    worker_id: int
    bug: Exception


class PulseFailed(NamedTuple):
    bug: Exception


# ------------------------------------------------------------------ health


class HealthServed(NamedTuple):
    """The process answers probes on this address."""

    host: str
    port: int


class PartSilent(NamedTuple):
    """A part of the process shows no sign of life, so the process counts as dead until the part works again."""

    why: str


class PartTurns(NamedTuple):
    """What ``PartSilent`` said is over."""

    why: str


class HealthFailed(NamedTuple):
    """The thread that answers probes has failed, or could not write the metrics."""

    bug: Exception


# ------------------------------------------------------------------ processes


class ChildNotStarted(NamedTuple):
    """A child process that runs handlers could not be started. The worker tries again after ``pause`` seconds."""

    error: Exception
    pause: float


class ProcessNotStarted(NamedTuple):
    error: Exception
    pause: float


class ProcessDied(NamedTuple):
    """Another process is started in its place after ``pause`` seconds. ``code``: the exit code; None if it is unknown."""

    pid: int
    code: int | None
    pause: float


class ProcessSilent(NamedTuple):
    """The process has sent nothing for ``seconds`` seconds, so it is killed."""

    pid: int
    seconds: float


class ProcessNotEnded(NamedTuple):
    """The process did not end within its grace period, so it is killed."""

    pid: int


class LeaseNotEnded(NamedTuple):
    """The lease of a dead worker could not be ended, so its jobs wait until the lease runs out."""

    worker_id: int
    why: str


class SupervisorDeaf(NamedTuple):
    """The supervisor's listener failed, so jobs are found by polling."""

    bug: Exception
