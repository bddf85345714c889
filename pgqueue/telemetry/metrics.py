"""Counts and measures what this process does, for OpenTelemetry and Prometheus. instruments.py declares the metrics.

The recorder subscribes to facts. A fact is only put aside at first, because facts can be emitted thousands of times a second, on any thread
and in the handler of a signal. Later, one thread adds many facts to the numbers: when enough of them have piled up, or when an exporter asks.

Without an SDK and without a worker that serves metrics, the recorder does not subscribe, and nothing is counted.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

from opentelemetry.metrics import (
    CallbackOptions,
    Meter,
    NoOpMeterProvider,
    Observation,
    get_meter_provider,
)

from pgqueue.telemetry import instruments as i
from pgqueue.telemetry.conventions import SCHEMA
from pgqueue.telemetry.events import Fact, subscribe
from pgqueue.telemetry.events.database import ConnectionBroke
from pgqueue.telemetry.events.jobs import (
    EnqueueEnded,
    JobsClaimed,
    JobsEnqueued,
    JobsTaken,
    OutcomesWritten,
)
from pgqueue.telemetry.events.maintenance import LeadEnded, Measured
from pgqueue.telemetry.events.workers import LeaseLost
from pgqueue.telemetry.guard import Failure, guarded
from pgqueue.telemetry.instruments import INSTRUMENTS, OF_THE_QUEUE, Instrument
from pgqueue.telemetry.measures import Labels, Store

MANY = 32  # this many facts are added to the numbers at once
SYSTEM = "pgqueue"
LISTENING = "pgqueue listen"  # the name of the connection on which notifications arrive
_failure = Failure("OpenTelemetry's metrics failed, so some numbers are missing")


class Recorder:
    """Adds facts to the numbers of ``store`` and, if an SDK is set up, also to those of the SDK."""

    def __init__(self) -> None:
        self.store = Store()
        self._pending: deque[Fact] = deque()
        self._lock = Lock()  # a thread holds it while it changes or reads the numbers
        self._begun = False
        self._sdk: _Sdk | None = None

    def begin(self) -> None:
        """Begins to count. If it counts already, does nothing. If the application has set up an SDK by now, the SDK gets the numbers, too."""
        if self._sdk is None and is_metered():
            self._sdk = _Sdk(self)
        if not self._begun:
            self._begun = True
            for kind in HANDLERS:
                subscribe(kind, self.note)

    def note(self, fact: Fact) -> None:
        self._pending.append(fact)
        if len(self._pending) >= MANY and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    @contextmanager
    def counted(self) -> Iterator[Store]:
        """Adds all facts to the numbers, and gives the store to the block. No other thread changes it meanwhile."""
        with self._lock:
            self._count()
            yield self.store

    def take(self) -> list[list[Any]]:
        """Takes the numbers out, for another process that adds them to its own. Returns nothing if this process counts nothing."""
        if not self._begun:
            return []
        with self.counted() as store:
            return store.take()

    def merge(self, rows: list[list[Any]]) -> None:
        """Adds the numbers that ``take`` returned in another process."""
        with self._lock:
            self.store.merge(rows)

    def _count(self) -> None:
        by_handler: defaultdict[Callable[[Recorder, list[Any]], None], list[Fact]] = defaultdict(list)
        while self._pending:
            fact = self._pending.popleft()
            by_handler[HANDLERS[type(fact)]].append(fact)
        for handler, facts in by_handler.items():
            handler(self, facts)

    # ------------------------------------------------------------------ writing numbers

    def add(self, instrument: Instrument, labels: Labels = (), count: float = 1) -> None:
        labels = self.store.add(instrument, labels, count)
        if self._sdk is not None:
            self._sdk.add(instrument, labels, count)

    def observe(self, instrument: Instrument, labels: Labels, values: list[float]) -> None:
        labels = self.store.observe(instrument, labels, values)
        if self._sdk is not None:
            self._sdk.observe(instrument, labels, values)


class _Sdk:
    """The instruments of the application's SDK. They get the numbers of this process alone."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        meter = get_meter_provider().get_meter("pgqueue", schema_url=SCHEMA)
        self._made: dict[str, Any] = {}
        for instrument in INSTRUMENTS.values():
            guarded(_failure, self._make, meter, instrument)

    def _make(self, meter: Meter, instrument: Instrument) -> None:
        name, unit, words = instrument.name, instrument.unit, instrument.help
        match instrument.kind:
            case "counter":
                self._made[name] = meter.create_counter(name, unit, words)
            case "histogram":
                limits = list(instrument.buckets)
                self._made[name] = meter.create_histogram(
                    name, unit, words, explicit_bucket_boundaries_advisory=limits
                )
            case "gauge":
                self._made[name] = meter.create_observable_gauge(
                    name, [self._reading(instrument)], unit, words
                )

    def _reading(self, instrument: Instrument) -> Callable[[CallbackOptions], list[Observation]]:
        """Returns the callback of a gauge. The SDK calls it before it reads the other instruments, so it also adds the facts that wait."""

        def read(_: CallbackOptions) -> list[Observation]:
            with self._recorder.counted() as store:
                series = dict(store.gauges(instrument))
            return [Observation(value, attributes(instrument, labels)) for labels, value in series.items()]

        return read

    def add(self, instrument: Instrument, labels: Labels, count: float) -> None:
        if instrument.name in self._made:
            guarded(_failure, self._made[instrument.name].add, count, attributes(instrument, labels))

    def observe(self, instrument: Instrument, labels: Labels, values: list[float]) -> None:
        if instrument.name in self._made:
            guarded(_failure, self._record, instrument, labels, values)

    def _record(self, instrument: Instrument, labels: Labels, values: list[float]) -> None:
        record, named = self._made[instrument.name].record, attributes(instrument, labels)
        for value in values:
            record(value, named)


def attributes(instrument: Instrument, labels: Labels) -> dict[str, str]:
    return {name: value for name, value in zip(instrument.labels, labels, strict=True) if value}


def is_metered() -> bool:
    """Returns whether the application has set up an SDK for metrics."""
    provider = get_meter_provider()
    return not isinstance(provider, NoOpMeterProvider) and type(provider).__name__ != "_ProxyMeterProvider"


# ------------------------------------------------------------------ from facts to numbers
# Each function gets several facts of a class, because to add many values together is cheaper.


def _enqueued(recorder: Recorder, facts: list[JobsEnqueued]) -> None:
    for fact in facts:
        recorder.add(i.SENT, ("send", SYSTEM, fact.queue, fact.task), fact.jobs)


def _enqueue_ended(recorder: Recorder, facts: list[EnqueueEnded]) -> None:
    for fact in facts:
        recorder.observe(i.OPERATION_DURATION, ("send", SYSTEM, fact.queue, fact.error), [fact.seconds])


def _claimed(recorder: Recorder, facts: list[JobsClaimed]) -> None:
    # idle polls would hide how long claims take
    if seconds := [fact.seconds for fact in facts if fact.jobs]:
        recorder.observe(i.OPERATION_DURATION, ("receive", SYSTEM, "", ""), seconds)


def _taken(recorder: Recorder, facts: list[JobsTaken]) -> None:
    by_queue: defaultdict[str, list[float]] = defaultdict(list)
    for fact in facts:
        for queue, waits in fact.waits:
            by_queue[queue] += waits
    for queue, waited in by_queue.items():
        if min(waited) < 0:
            waited[:] = [max(wait, 0.0) for wait in waited]
        recorder.add(i.CONSUMED, ("receive", SYSTEM, queue), len(waited))
        recorder.observe(i.WAIT_DURATION, (queue,), waited)


def _written(recorder: Recorder, facts: list[OutcomesWritten]) -> None:
    groups: defaultdict[tuple[str, str, str, str], list[float | None]] = defaultdict(list)
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for fact in facts:
        if fact.seconds is not None:
            durations[fact.operation].append(fact.seconds)
        for queue, task, outcome, error, ran in fact.ended:
            groups[queue, task, outcome, error] += ran
    for operation, seconds in durations.items():
        recorder.observe(i.OPERATION_DURATION, (operation, SYSTEM, "", ""), seconds)
    for (queue, task, outcome, error), times in groups.items():
        recorder.add(i.COMPLETIONS, (queue, task, outcome), len(times))
        if took := [one for one in times if one is not None]:
            recorder.observe(i.PROCESS_DURATION, ("process", SYSTEM, queue, task, error), took)


def _lease_lost(recorder: Recorder, facts: list[LeaseLost]) -> None:
    recorder.add(i.LEASE_LOSSES, count=len(facts))


def _broke(recorder: Recorder, facts: list[ConnectionBroke]) -> None:
    if count := sum(fact.connection == LISTENING for fact in facts):
        recorder.add(i.RECONNECTS, count=count)


def _led(recorder: Recorder, facts: list[Measured | LeadEnded]) -> None:
    """Sets the gauges of the whole queue, by the last fact: a measurement, or the end of the lead, after which another worker measures."""
    last = facts[-1]
    if isinstance(last, Measured):
        recorder.store.set_gauges(gauges(last), last.valid_until)
    else:
        recorder.store.set_gauges({})


HANDLERS: Mapping[type[Fact], Callable[[Recorder, list[Any]], None]] = {
    JobsEnqueued: _enqueued, EnqueueEnded: _enqueue_ended, JobsClaimed: _claimed, JobsTaken: _taken,
    OutcomesWritten: _written, LeaseLost: _lease_lost, ConnectionBroke: _broke, Measured: _led, LeadEnded: _led,
}  # fmt: skip

STATES = ("due", "scheduled", "waiting", "running", "dead")


def gauges(fact: Measured) -> dict[Instrument, dict[Labels, float]]:
    """Returns the gauges that a measurement of the whole queue gives."""
    found: dict[Instrument, dict[Labels, float]] = {instrument: {} for instrument in OF_THE_QUEUE}
    for queue in fact.queues:
        for state in STATES:
            found[i.JOB_COUNT][queue.queue, state] = getattr(queue, state)
        found[i.QUEUE_LATENCY][queue.queue,] = queue.oldest_due or 0.0
        if queue.drain_time is not None:
            found[i.DRAIN_TIME][queue.queue,] = queue.drain_time
    found[i.WORKER_COUNT][()] = fact.workers
    found[i.SLOT_LIMIT][()] = fact.slots
    found[i.SLOT_USAGE][()] = fact.slots_taken
    found[i.CRON_LAG][()] = fact.cron_lag
    found[i.DEAD_TUPLES].update({(table,): count for table, count in fact.dead_tuples})
    return found


RECORDER = Recorder()


def begin() -> None:
    """Begins to count what this process does. A worker that serves metrics calls this."""
    RECORDER.begin()


def begin_if_metered() -> None:
    """Begins to count if the application has set up an SDK for metrics."""
    if is_metered():
        RECORDER.begin()
