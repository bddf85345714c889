"""The tables as SQLAlchemy objects: for users' own queries, and for a test that compares them with what the migrations create.

``select(jobs).where(jobs.c.state == "dead")`` reads all partitions. Nothing here creates a table: only the migrations do. SQLAlchemy
cannot express domains and partition bounds, so they are stored in ``info``, where the test finds and compares them.
"""

from pgqueue.schema.alerts import alerts
from pgqueue.schema.audit import audit, undo_rows
from pgqueue.schema.base import DOMAINS, metadata
from pgqueue.schema.jobs import jobs, jobs_dead, jobs_done, jobs_done_default, jobs_live
from pgqueue.schema.limits import limits, pauses, seats, starts
from pgqueue.schema.requests import worker_requests
from pgqueue.schema.schedules import schedule_runs, schedule_sets, schedules, tasks
from pgqueue.schema.stats import stats, stats_totals
from pgqueue.schema.steps import checkpoints, checkpoints_default, signals
from pgqueue.schema.work import idempotency_keys, leader, queues, transitions, transitions_default, workers
from pgqueue.schema.workflows import dependencies, nodes, unresolved, workflows

__all__ = [
    "DOMAINS",
    "alerts",
    "audit",
    "checkpoints",
    "checkpoints_default",
    "dependencies",
    "idempotency_keys",
    "jobs",
    "jobs_dead",
    "jobs_done",
    "jobs_done_default",
    "jobs_live",
    "leader",
    "limits",
    "metadata",
    "nodes",
    "pauses",
    "queues",
    "schedule_runs",
    "schedule_sets",
    "schedules",
    "seats",
    "signals",
    "starts",
    "stats",
    "stats_totals",
    "tasks",
    "transitions",
    "transitions_default",
    "undo_rows",
    "unresolved",
    "worker_requests",
    "workers",
    "workflows",
]
