"""Declares every metric of pgqueue, once. OpenTelemetry and Prometheus export from these declarations, so they cannot differ.

The names that begin with ``messaging.`` are those of OpenTelemetry's conventions for messaging systems. The other names are pgqueue's own.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

# The buckets that the conventions advise, in seconds, and further ones, because jobs can run for minutes and hours.
ADVISED = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
LONG = (30.0, 60.0, 300.0, 900.0, 3600.0)

SYSTEM, OPERATION, DESTINATION = "messaging.system", "messaging.operation.name", "messaging.destination.name"
TASK, ERROR = "pgqueue.task.name", "error.type"

UNITS = {"s": "seconds"}  # Prometheus appends the word of a unit to the name; units in braces have no word


class Instrument(NamedTuple):
    """A metric. ``unit``: in UCUM, as OpenTelemetry has it. ``labels``: the names of its attributes, in the order of their values.

    An empty value of a label means that the label is missing. ``buckets``: the upper limits of a histogram's buckets.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> str:
        """Returns the name in Prometheus, without the suffix ``_total`` of a counter."""
        word = UNITS.get(self.unit)
        return label_name(self.name) + (f"_{word}" if word else "")

    @property
    def exposed_labels(self) -> tuple[str, ...]:
        return tuple(map(label_name, self.labels))

    @property
    def series_names(self) -> tuple[str, ...]:
        """Returns the names of the series that Prometheus stores."""
        match self.kind:
            case "counter":
                return (self.exposed + "_total",)
            case "histogram":
                return tuple(self.exposed + suffix for suffix in ("_bucket", "_sum", "_count"))
        return (self.exposed,)


def label_name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


OPERATION_DURATION = Instrument(
    "messaging.client.operation.duration", "histogram", "s",
    "Seconds that enqueues (send), claims (receive) and writes of outcomes (ack, settle) took. Handlers are not counted.",
    (OPERATION, SYSTEM, DESTINATION, ERROR), ADVISED,
)  # fmt: skip
SENT = Instrument(
    "messaging.client.sent.messages", "counter", "{message}",
    "Jobs that this process enqueued. Those whose transaction was rolled back later are counted, too.",
    (OPERATION, SYSTEM, DESTINATION, TASK),
)  # fmt: skip
CONSUMED = Instrument(
    "messaging.client.consumed.messages", "counter", "{message}",
    "Jobs that the worker claimed. A job is counted once for each claim.",
    (OPERATION, SYSTEM, DESTINATION),
)  # fmt: skip
PROCESS_DURATION = Instrument(
    "messaging.process.duration", "histogram", "s", "Seconds that attempts took, from the call of the handler to its end.",
    (OPERATION, SYSTEM, DESTINATION, TASK, ERROR), ADVISED + LONG,
)  # fmt: skip
WAIT_DURATION = Instrument(
    "pgqueue.job.wait.duration", "histogram", "s", "Seconds from the time at which a job was due to its claim.",
    ("queue",), ADVISED + LONG,
)  # fmt: skip
COMPLETIONS = Instrument(
    "pgqueue.job.completions", "counter", "{job}",
    "Attempts whose outcome is written: completed, retried, dead, cancelled, snoozed, suspended or released.",
    ("queue", "task", "outcome"),
)  # fmt: skip
LEASE_LOSSES = Instrument(
    "pgqueue.lease.losses",
    "counter",
    "{lease}",
    "How often the worker lost its lease, and with it its running jobs.",
)
RECONNECTS = Instrument(
    "pgqueue.listener.reconnects", "counter", "{reconnect}",
    "How often the connection for notifications broke. The worker opened it again.",
)  # fmt: skip

# The metrics of the whole queue. Only the leader and `pgq metrics` measure them. Otherwise N workers would report them N times.
JOB_COUNT = Instrument(
    "pgqueue.job.count", "gauge", "{job}",
    "Jobs by queue and state. scheduled: pending or retrying, and not yet due. Finished jobs are counted only if they are dead.",
    ("queue", "state"),
)  # fmt: skip
QUEUE_LATENCY = Instrument(
    "pgqueue.queue.latency", "gauge", "s", "For how many seconds the oldest due job of the queue has been due.", ("queue",)
)  # fmt: skip
DRAIN_TIME = Instrument(
    "pgqueue.queue.drain_time", "gauge", "s",
    "An estimate: in how many seconds the due jobs of the queue will have been claimed, at the pace of the last five minutes. "
    "+Inf: never, because the queue does not become shorter.",
    ("queue",),
)  # fmt: skip
WORKER_COUNT = Instrument("pgqueue.worker.count", "gauge", "{worker}", "Workers whose lease is valid.")
SLOT_USAGE = Instrument(
    "pgqueue.worker.slot.usage", "gauge", "{slot}", "Slots of all workers that jobs take now."
)
SLOT_LIMIT = Instrument("pgqueue.worker.slot.limit", "gauge", "{slot}", "Slots of all workers together.")
CRON_LAG = Instrument(
    "pgqueue.cron.lag", "gauge", "s", "For how many seconds the most overdue schedule has been due. 0: no schedule is late."
)  # fmt: skip
DEAD_TUPLES = Instrument(
    "pgqueue.table.dead_tuple.count", "gauge", "{tuple}", "Dead rows in pgqueue's tables that vacuum has not removed yet.",
    ("table",),
)  # fmt: skip

OF_A_PROCESS = (
    OPERATION_DURATION, SENT, CONSUMED, PROCESS_DURATION, WAIT_DURATION, COMPLETIONS, LEASE_LOSSES, RECONNECTS,
)  # fmt: skip
OF_THE_QUEUE = (
    JOB_COUNT, QUEUE_LATENCY, DRAIN_TIME, WORKER_COUNT, SLOT_USAGE, SLOT_LIMIT, CRON_LAG, DEAD_TUPLES,
)  # fmt: skip
INSTRUMENTS = {instrument.name: instrument for instrument in (*OF_A_PROCESS, *OF_THE_QUEUE)}
