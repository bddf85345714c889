"""What the rows of a statement mean, where a plain value would not say it."""

from pgqueue.rows.jobs import JobCount, Lanes, Rescued, Round, Stored, Swept, TimelineEntry, Transition, Why
from pgqueue.rows.queues import Limit, Miscount, QueueDepth, QueueUse, Term, Unserved, WorkerRow
from pgqueue.rows.schedules import DueSchedule, Look, ScheduleRow, TaskRow
from pgqueue.rows.server import DayChange, Fault, IndexFault, Locker, Server, Snapshot, Storage

__all__ = [
    "DayChange",
    "DueSchedule",
    "Fault",
    "IndexFault",
    "JobCount",
    "Lanes",
    "Limit",
    "Locker",
    "Look",
    "Miscount",
    "QueueDepth",
    "QueueUse",
    "Rescued",
    "Round",
    "ScheduleRow",
    "Server",
    "Snapshot",
    "Storage",
    "Stored",
    "Swept",
    "TaskRow",
    "Term",
    "TimelineEntry",
    "Transition",
    "Unserved",
    "Why",
    "WorkerRow",
]
