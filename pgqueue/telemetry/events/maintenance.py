"""The facts about the work of the leader: it rescues and finishes jobs, mends tables and indexes, fires schedules, and raises alerts.

``why`` is an error message, shortened to one line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple


class LeaderElected(NamedTuple):
    worker_id: int


class LeadEnded(NamedTuple):
    worker_id: int


class QueueMeasured(NamedTuple):
    """The numbers of one queue. ``oldest_due``: for how many seconds its oldest due job has been due; None: no job is due.

    ``drain_time``: in how many seconds no job will be due, at the pace of the last five minutes; None: the pace is not known.
    """

    queue: str
    due: int
    scheduled: int
    waiting: int
    running: int
    dead: int
    oldest_due: float | None
    drain_time: float | None


class Measured(NamedTuple):
    """The leader has measured the whole system.

    ``valid_until``: from then on, the numbers are too old, on the clock ``monotonic``. ``dead_tuples``: (table, number of dead rows).
    """

    queues: tuple[QueueMeasured, ...]
    workers: int
    slots: int
    slots_taken: int
    cron_lag: float
    dead_tuples: tuple[tuple[str, int], ...]
    valid_until: float


class WorkersAdopted(NamedTuple):
    """Running jobs have the ids of these workers, but the rows of the workers are gone. The jobs will be rescued."""

    worker_ids: tuple[int, ...]


class QueueDiscovered(NamedTuple):
    queue: str


class SeatMended(NamedTuple):
    """The stored number of taken seats was ``counted``, but the running jobs take ``correct`` seats. The number was corrected."""

    limit_id: int
    key: str | None
    counted: int
    correct: int


class NodeMended(NamedTuple):
    """The node of a workflow was open, but its job was gone. The node was ended."""

    workflow_id: int
    node_id: int


class JobsRescued(NamedTuple):
    jobs: int
    worker_ids: tuple[int, ...]


class JobStalled(NamedTuple):
    """A job was taken back from a worker that died or lost its lease. ``worker_id``: that worker. ``state``: what the job is now."""

    job_id: int
    task: str
    worker_id: int
    state: str


class CrashLoopEnded(NamedTuple):
    """The job was made dead, because too many workers died while they ran it."""

    job_id: int
    task: str


class WaitsTimedOut(NamedTuple):
    """The time-outs of these jobs have passed, which wait for signals. The jobs are due now."""

    job_ids: tuple[int, ...]


class OverdueJobFinished(NamedTuple):
    """The job was overdue, so no worker was allowed to run it any more. The job was finished, and its state is now ``state``."""

    job_id: int
    task: str
    state: Literal["dead", "cancelled"]
    reason: str


class PartitionChanged(NamedTuple):
    """A partition was changed, or could not be changed. If the same change fails again and again, the fact is emitted only once."""

    partition: str
    what: Literal["made", "attached", "dropped", "locked", "crowded", "refused"]
    why: str | None


class RebuildPutOff(NamedTuple):
    """The rebuild of an index waits, because these sessions hold a snapshot or a lock."""

    index_name: str
    holders: tuple[str, ...]


class IndexOfAnotherOwner(NamedTuple):
    """The index has a fault. The leader is not allowed to mend it, because another role owns it. The owner can mend it by ``command``."""

    index_name: str
    fault: str
    command: str


class IndexNotMended(NamedTuple):
    index_name: str
    error: Exception


class IndexMended(NamedTuple):
    """``before`` and ``after`` are the sizes of the index in bytes."""

    index_name: str
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
    """``became`` is what the declaration in the code did to the row of the schedule."""

    schedule: str | None
    became: str


class ScheduleForeign(NamedTuple):
    """The code of the app declares a schedule of this name, but the row of this name was not made by it. The row stays as it is."""

    schedule: str | None
    app: str


class ScheduleKept(NamedTuple):
    """The code of the app no longer declares the schedule. The schedule stays, because its task is not one of the app's tasks."""

    schedule: str | None
    app: str


class NewerDeployInForce(NamedTuple):
    """The schedules of a newer deploy are in force, not the schedules of this worker's code."""


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
    """The schedule cannot run. ``bug``: the error if it is a bug of pgqueue; None if a wrong value in the schedule's row caused it."""

    schedule: str
    why: str
    bug: Exception | None


class ScheduleSkipped(NamedTuple):
    """The schedule missed fire times up to ``until``. It skipped them, because its definition asks for this."""

    schedule: str
    until: datetime


class ScheduleMissed(NamedTuple):
    """The schedule missed its fire times since ``since``."""

    schedule: str
    since: datetime


class ScheduleFired(NamedTuple):
    schedule: str
    jobs: int
