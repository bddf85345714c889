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
    """Jobs name these workers, whose rows are gone; they will be rescued."""

    worker_ids: tuple[int, ...]


class QueueDiscovered(NamedTuple):
    queue: str


class SeatMended(NamedTuple):
    """``counted`` seats of a key under a limit were taken by the row, ``correct`` by jobs."""

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
    """A job that no worker may run now or later has ended as ``state``."""

    job_id: int
    task: str
    state: Literal["dead", "cancelled"]
    reason: str


class PartitionChanged(NamedTuple):
    """Or not changed, which is told once."""

    name: str
    what: Literal["made", "attached", "dropped", "locked", "crowded", "refused"]
    why: str | None


class RebuildPutOff(NamedTuple):
    """Of an index, because these sessions hold a snapshot or a lock."""

    name: str
    holders: tuple[str, ...]


class IndexOfAnotherOwner(NamedTuple):
    """Only its owner may mend it, by ``command``."""

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
    """By the mail server of alerts."""

    host: str | None
    addresses: int


class ScheduleSynced(NamedTuple):
    """``became``: what a declaration of the code has done to the row."""

    schedule: str | None
    became: str


class ScheduleForeign(NamedTuple):
    """The code of the app declares it, but did not make it, so it stays as it is."""

    schedule: str | None
    app: str


class ScheduleKept(NamedTuple):
    """The code of the app no longer declares it, nor knows its task, so it stays."""

    schedule: str | None
    app: str


class NewerDeployInForce(NamedTuple):
    """Its schedules are in force, not those of this worker's code."""


class TaskNotDeclared(NamedTuple):
    task: str
    why: str


class DeclarationsPutOff(NamedTuple):
    """A worker that begins could not store what its code declares, and does so later."""

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
    """It cannot run. ``bug``: the error, if it is none of its row's."""

    schedule: str
    why: str
    bug: Exception | None


class ScheduleSkipped(NamedTuple):
    """What it missed until then, as it is declared."""

    schedule: str
    until: datetime


class ScheduleMissed(NamedTuple):
    """Its times since then."""

    schedule: str
    since: datetime


class ScheduleFired(NamedTuple):
    schedule: str
    jobs: int
