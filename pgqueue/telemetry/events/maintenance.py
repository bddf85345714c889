"""Facts of what one elected worker does: rescue, overdue jobs, upkeep, schedules, alerts.

``why``: an error in one line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple


class LeaderElected(NamedTuple):
    worker_id: int


class LeadEnded(NamedTuple):
    worker_id: int


class WorkersAdopted(NamedTuple):
    """Jobs name these workers, whose rows are gone. The jobs will be rescued."""

    worker_ids: tuple[int, ...]


class QueueDiscovered(NamedTuple):
    queue: str


class SeatMended(NamedTuple):
    """The row of a key under a limit counted ``counted`` taken seats, but jobs take ``correct``."""

    limit_id: int
    key: str | None
    counted: int
    correct: int


class JobsRescued(NamedTuple):
    jobs: int
    worker_ids: tuple[int, ...]


class CrashLoopEnded(NamedTuple):
    """A job is dead, because its workers die while they run it."""

    job_id: int
    task: str


class OverdueJobFinished(NamedTuple):
    """No worker may run the job now or later, so it has ended as ``state``."""

    job_id: int
    task: str
    state: Literal["dead", "cancelled"]
    reason: str


class PartitionChanged(NamedTuple):
    """A partition changed, or could not change. The same failure is emitted once."""

    name: str
    what: Literal["made", "attached", "dropped", "locked", "crowded", "refused"]
    why: str | None


class RebuildPutOff(NamedTuple):
    """The rebuild of an index waits, because these sessions hold a snapshot or a lock."""

    name: str
    holders: tuple[str, ...]


class IndexOfAnotherOwner(NamedTuple):
    """The index has a fault, and only its owner may mend it: with ``command``."""

    name: str
    fault: str
    command: str


class IndexNotMended(NamedTuple):
    name: str
    error: Exception


class IndexMended(NamedTuple):
    """``before`` and ``after`` are bytes."""

    name: str
    fault: str
    seconds: float
    before: int
    after: int


class AlertOpened(NamedTuple):
    alert_id: int
    text: str


class AlertResolved(NamedTuple):
    alert_id: int
    text: str


class AlertNotRaised(NamedTuple):
    kind: str
    subject: str
    error: Exception


class AddressesRefused(NamedTuple):
    """The mail server ``host`` refused this many of the addresses that alerts are sent to."""

    host: str | None
    addresses: int


class ScheduleSynced(NamedTuple):
    """``became``: what a declaration of the code has done to the row."""

    schedule: str | None
    became: str


class ScheduleForeign(NamedTuple):
    """The code of the app declares the schedule, but did not make its row, so the row stays as it is."""

    schedule: str | None
    app: str


class ScheduleKept(NamedTuple):
    """The code of the app no longer declares the schedule and does not know its task, so the schedule stays."""

    schedule: str | None
    app: str


class NewerDeployInForce(NamedTuple):
    """The schedules of a newer deploy are in force, not those of this worker's code."""


class TaskNotDeclared(NamedTuple):
    task: str
    why: str


class DeclarationsPutOff(NamedTuple):
    """A starting worker could not store what its code declares, and tries again later."""

    error: Exception


class ScheduleUnreadable(NamedTuple):
    schedule_id: int
    why: str


class ScheduleReadLater(NamedTuple):
    schedule_id: int
    why: str


class SchedulePutOff(NamedTuple):
    schedule: str
    why: str


class ScheduleBroken(NamedTuple):
    """The schedule cannot run. ``bug``: the error, or None if the row of the schedule caused the error."""

    schedule: str
    why: str
    bug: Exception | None


class ScheduleSkipped(NamedTuple):
    """The schedule skips the fire times that it missed, up to ``until``, because its declaration says so."""

    schedule: str
    until: datetime


class ScheduleMissed(NamedTuple):
    """The schedule missed its fire times since ``since``."""

    schedule: str
    since: datetime


class ScheduleFired(NamedTuple):
    schedule: str
    jobs: int
