"""Tests of the declarations of metrics, of the numbers that are kept for them, and of the texts that Prometheus gets."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgqueue.database.statements.queues import QueueCount
from pgqueue.database.statements.server import SystemNumbers
from pgqueue.database.statements.stats import QueueDrain
from pgqueue.maintenance import measuring
from pgqueue.telemetry import instruments as i
from pgqueue.telemetry import measures, metrics
from pgqueue.telemetry.events.database import ConnectionBroke
from pgqueue.telemetry.events.jobs import (
    Ended,
    EnqueueEnded,
    JobsClaimed,
    JobsEnqueued,
    JobsTaken,
    OutcomesWritten,
)
from pgqueue.telemetry.events.maintenance import LeadEnded, Measured, QueueMeasured
from pgqueue.telemetry.events.workers import LeaseLost
from pgqueue.telemetry.guard import Failure
from pgqueue.telemetry.instruments import INSTRUMENTS
from pgqueue.telemetry.measures import MOST, Store
from pgqueue.telemetry.metrics import HANDLERS, Recorder
from pgqueue.telemetry.prometheus import written
from pgqueue.worker.processes import metrics_sender
from tests.unit.test_events import samples


def parsed(store: Store) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Returns the value of each series of the text, by its name and its labels, as Prometheus's own parser reads the text."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(written(store).decode())
        for sample in family.samples
    }


def counted(*facts: tuple[object, ...]) -> Store:
    recorder = Recorder()
    for fact in facts:
        recorder.note(fact)
    with recorder.counted() as store:
        return store


# ------------------------------------------------------------------ the declarations

# The conventions' metrics and pgqueue's own, with the names that Prometheus gives them.
EXPOSED = {
    "messaging.client.operation.duration": "messaging_client_operation_duration_seconds",
    "messaging.client.sent.messages": "messaging_client_sent_messages_total",
    "messaging.client.consumed.messages": "messaging_client_consumed_messages_total",
    "messaging.process.duration": "messaging_process_duration_seconds",
    "pgqueue.job.count": "pgqueue_job_count",
    "pgqueue.queue.latency": "pgqueue_queue_latency_seconds",
    "pgqueue.job.wait.duration": "pgqueue_job_wait_duration_seconds",
    "pgqueue.job.completions": "pgqueue_job_completions_total",
    "pgqueue.worker.count": "pgqueue_worker_count",
    "pgqueue.worker.slot.usage": "pgqueue_worker_slot_usage",
    "pgqueue.worker.slot.limit": "pgqueue_worker_slot_limit",
    "pgqueue.queue.drain_time": "pgqueue_queue_drain_time_seconds",
    "pgqueue.lease.losses": "pgqueue_lease_losses_total",
    "pgqueue.listener.reconnects": "pgqueue_listener_reconnects_total",
    "pgqueue.cron.lag": "pgqueue_cron_lag_seconds",
    "pgqueue.table.dead_tuple.count": "pgqueue_table_dead_tuple_count",
}


def test_every_metric_has_the_name_that_prometheus_gives_it():
    named = {
        name: instrument.series_names[0].removesuffix("_bucket") for name, instrument in INSTRUMENTS.items()
    }
    assert named == EXPOSED


@pytest.mark.parametrize("instrument", INSTRUMENTS.values(), ids=lambda one: one.name)
def test_a_declaration_follows_the_rules_of_names_units_and_buckets(instrument):
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", instrument.name)
    assert "total" not in instrument.name
    assert instrument.unit == "s" or re.fullmatch(r"\{[a-z]+\}", instrument.unit)
    assert instrument.help.endswith(".")
    assert bool(instrument.buckets) is (instrument.kind == "histogram")
    assert list(instrument.buckets) == sorted(instrument.buckets)
    if instrument.buckets:
        assert instrument.buckets[: len(i.ADVISED)] == i.ADVISED
    if instrument.name.startswith("messaging."):
        assert instrument.labels[:2] == ("messaging.operation.name", "messaging.system")


def test_the_page_lists_every_metric_as_it_is_declared():
    page = (Path(__file__).parents[2] / "docs/telemetry.md").read_text(encoding="utf-8")
    for one in INSTRUMENTS.values():
        labels = ", ".join(f"`{label}`" for label in one.exposed_labels) or "-"
        exposed = one.exposed + ("_total" if one.kind == "counter" else "")
        row = f"| `{one.name}` | `{exposed}` | {one.kind} | {labels} | {one.help} |"
        assert row in page, row
    assert page.count("\n| `messaging.") + page.count("\n| `pgqueue.") == len(INSTRUMENTS)


# ------------------------------------------------------------------ from facts to series


def test_written_outcomes_are_counted_by_queue_task_and_outcome_and_measured_by_error():
    store = counted(
        OutcomesWritten(1, "ack", 0.003, (Ended("mail", "send", "completed", "", (0.02, 40.0)),)),
        OutcomesWritten(1, "settle", 0.004, (Ended("mail", "send", "retried", "ValueError", (0.3,)), Ended("mail", "send", "cancelled", "", (None,)))),
    )  # fmt: skip
    series = parsed(store)
    of_mail = (("queue", "mail"), ("task", "send"))
    for outcome, count in {"completed": 2, "retried": 1, "cancelled": 1}.items():
        assert (
            series["pgqueue_job_completions_total", tuple(sorted((*of_mail, ("outcome", outcome))))] == count
        )
    labels = {
        "messaging_operation_name": "process", "messaging_system": "pgqueue", "messaging_destination_name": "mail",
        "pgqueue_task_name": "send", "error_type": "",
    }  # fmt: skip
    name = "messaging_process_duration_seconds"
    assert series[name + "_count", tuple(sorted(labels.items()))] == 2
    assert series[name + "_sum", tuple(sorted(labels.items()))] == pytest.approx(40.02)
    assert series[name + "_bucket", tuple(sorted({**labels, "le": "10.0"}.items()))] == 1
    assert series[name + "_bucket", tuple(sorted({**labels, "le": "60.0"}.items()))] == 2
    assert series[name + "_count", tuple(sorted({**labels, "error_type": "ValueError"}.items()))] == 1


def test_each_kind_of_fact_changes_the_series_of_its_metric():
    store = counted(
        JobsEnqueued("send", 3, "mail"),
        EnqueueEnded("mail", 3, 0.01, "", None),
        JobsClaimed(1, 2, 10, 0.002, False),
        JobsClaimed(1, 0, 10, 9.0, False),
        JobsTaken(1, (("mail", (0.5, 1.5, -0.1)),)),
        LeaseLost(1, 4),
        ConnectionBroke("pgqueue listen", "gone", False),
        ConnectionBroke("pgqueue claim", "gone", False),
    )
    assert store.counters(i.SENT) == {("send", "pgqueue", "mail", "send"): 3}
    assert store.counters(i.CONSUMED) == {("receive", "pgqueue", "mail"): 3}
    assert store.histograms(i.WAIT_DURATION)["mail",].total == 2.0
    assert store.counters(i.LEASE_LOSSES) == store.counters(i.RECONNECTS) == {(): 1}
    durations = store.histograms(i.OPERATION_DURATION)
    assert {labels[0]: found.total for labels, found in durations.items()} == {"send": 0.01, "receive": 0.002}


@pytest.mark.parametrize("kind", HANDLERS, ids=lambda kind: kind.__name__)
def test_every_fact_of_a_subscribed_class_can_be_counted_and_written(kind):
    assert written(counted(*samples(kind)))


def test_facts_of_many_threads_are_all_counted():
    recorder = Recorder()
    fact = OutcomesWritten(1, "ack", 0.1, (Ended("q", "t", "completed", "", (0.1,)),))
    threads = [threading.Thread(target=lambda: [recorder.note(fact) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with recorder.counted() as store:
        assert store.counters(i.COMPLETIONS) == {("q", "t", "completed"): 4000}


def test_many_values_fall_into_the_same_buckets_as_single_values():
    limits = i.PROCESS_DURATION.buckets
    values = [*limits, *(limit * 1.01 for limit in limits), 0.0, -1e-9, 1e9] * 3
    together, single = (measures.Histogram([0] * (len(limits) + 1)) for _ in range(2))
    together.observe(limits, values)
    for value in values:
        single.observe(limits, [value])
    assert len(values) > measures.MANY
    assert together.counts == single.counts
    assert together.total == pytest.approx(single.total)


class BrokenMeter:
    """A meter of an SDK that fails: it makes no gauges, and its counters and histograms raise when they are used."""

    def get_meter(self, *_args: object, **_options: object) -> BrokenMeter:
        return self

    def create_observable_gauge(self, *_args: object) -> None:
        raise RuntimeError("the SDK is broken")

    def create_counter(self, *_args: object, **_options: object) -> BrokenMeter:
        return self

    create_histogram = create_counter

    def add(self, *_: object) -> None:
        raise SystemExit(1)

    record = add


def test_an_sdk_that_fails_costs_only_its_own_numbers(monkeypatch, capsys):
    monkeypatch.setattr(metrics, "get_meter_provider", BrokenMeter)
    monkeypatch.setattr(metrics, "_failure", Failure("OpenTelemetry's metrics failed"))
    recorder = Recorder()
    recorder._sdk = metrics._Sdk(recorder)
    for fact in (
        JobsEnqueued("t", 2, "q"),
        OutcomesWritten(1, "ack", 0.1, (Ended("q", "t", "completed", "", (0.1,)),)),
    ):
        recorder.note(fact)
    with recorder.counted() as store:
        assert store.counters(i.COMPLETIONS) == {("q", "t", "completed"): 1}
        assert store.counters(i.SENT) == {("send", "pgqueue", "q", "t"): 2}
    assert capsys.readouterr().err.count("OpenTelemetry's metrics failed") == 1


# ------------------------------------------------------------------ bounds


def test_ten_thousand_names_of_queues_make_no_more_series_than_the_limit_and_lose_no_count():
    store = counted(
        *(
            OutcomesWritten(1, "ack", None, (Ended(f"q{n}", "t", "completed", "", (1.0,)),))
            for n in range(10_000)
        )
    )
    found = store.counters(i.COMPLETIONS)
    assert len(found) == MOST + 1
    assert sum(found.values()) == 10_000
    assert found["other", "t", "completed"] == 10_000 - MOST


@pytest.mark.parametrize("name", ['a"} 1\nevil 5', "\x1b[31m\u2028", "back\\slash", "ü" * 500, "<script>"])
def test_a_hostile_name_cannot_break_the_text_or_add_a_series(name):
    series = parsed(
        counted(OutcomesWritten(1, "settle", None, (Ended(name, "t", "completed", name, (1.0,)),)))
    )
    [(_, labels)] = [key for key in series if key[0] == "pgqueue_job_completions_total"]
    assert len(dict(labels)["queue"]) <= 4 * 128
    assert dict(labels)["queue"].isprintable()
    assert not [key for key in series if "evil" in key[0]]


def measured(valid_until: float = math.inf, **more: object) -> Measured:
    queue = QueueMeasured("mail", 5, 1, 2, 3, 4, 7.5, None)._replace(**more)  # type: ignore[arg-type]
    return Measured((queue,), 2, 20, 3, 1.5, (("jobs_live", 9),), valid_until)


def test_the_gauges_of_the_queue_come_from_a_measurement_and_go_with_the_lead():
    series = parsed(counted(measured(drain_time=30.0)))
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in series.items()
        if name == "pgqueue_job_count"
    }
    assert states == {"due": 5, "scheduled": 1, "waiting": 2, "running": 3, "dead": 4}
    queue = (("queue", "mail"),)
    assert series["pgqueue_queue_latency_seconds", queue] == 7.5
    assert series["pgqueue_queue_drain_time_seconds", queue] == 30.0
    assert series["pgqueue_worker_count", ()] == 2
    assert (series["pgqueue_worker_slot_usage", ()], series["pgqueue_worker_slot_limit", ()]) == (3, 20)
    assert series["pgqueue_cron_lag_seconds", ()] == 1.5
    assert series["pgqueue_table_dead_tuple_count", (("table", "jobs_live"),)] == 9
    assert not parsed(counted(measured(), LeadEnded(1)))
    assert not parsed(counted(measured(valid_until=0.0))), "a measurement that is too old is not shown"


# ------------------------------------------------------------------ several processes


def test_the_numbers_of_several_processes_add_up_and_survive_the_way_as_json():
    facts = [
        OutcomesWritten(1, "ack", 0.003, (Ended("mail", "send", "completed", "", (0.02,)),)),
        JobsEnqueued("send", 3, "mail"),
    ]
    both, first, second = Store(), counted(*facts), counted(*facts)
    for store in (first, second):
        both.merge(json.loads(json.dumps(store.take())))
    assert parsed(both) == parsed(counted(*facts, *facts))
    assert first.take() == []


def test_numbers_for_which_the_line_has_no_room_are_sent_later(monkeypatch):
    recorder, sent = Recorder(), Store()
    recorder._begun = True  # without subscriptions, so that only this test counts
    monkeypatch.setattr(metrics_sender, "RECORDER", recorder)
    recorder.note(JobsEnqueued("send", 3, "mail"))
    recorder.note(measured())
    metrics_sender.MetricsSender(lambda _: False).send_all()

    def send(message: str) -> bool:
        sent.merge(json.loads(message.removeprefix("metrics ")))
        return True

    metrics_sender.MetricsSender(send).send_all()
    assert sent.counters(i.SENT) == {("send", "pgqueue", "mail", "send"): 3}
    assert sent.gauges(i.WORKER_COUNT) == {(): 2}


def test_a_message_is_never_larger_than_the_limit_and_no_row_is_lost():
    rows = [["counter", "pgqueue.job.completions", [f"q{n}", "t", "completed"], [1]] for n in range(2000)]
    parts = list(metrics_sender.in_parts(rows))
    assert [row for part in parts for row in part] == rows
    assert len(parts) > 1
    assert max(len(json.dumps(part)) for part in parts) <= metrics_sender.LARGEST


# ------------------------------------------------------------------ the drain time


@pytest.mark.parametrize(
    ("due", "measured", "started", "arrived", "seconds"),
    [
        (0, None, None, None, 0.0),
        (100, 300.0, 20.0, 10.0, 10.0),
        (100, 300.0, 10.0, 20.0, math.inf),
        (100, None, None, None, math.inf),  # no job was started lately
        (100, 2.0, 20.0, 10.0, None),  # the first start was just now
    ],
)
def test_the_drain_time_is_that_of_pgq_stats(
    due: int, measured: float | None, started: float | None, arrived: float | None, seconds: float | None
) -> None:
    drain = QueueDrain("mail", due, True, False, measured, started, arrived)
    count = QueueCount("mail", False, True, due, 0, 0, 0, None, 1)
    found = measuring.measured([[count], {}, [], SystemNumbers(1, 1, 0, 0.0), [], [drain]])
    assert found.queues[0].drain_time == seconds


# ------------------------------------------------------------------ the package


def test_without_prometheus_client_one_error_says_what_to_install():
    script = "import sys; sys.modules['prometheus_client'] = None\nimport pgqueue.telemetry.prometheus"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "PGQ-111" in last
    assert "pip install 'pgqueue-jobs[prometheus]'" in last


def test_the_import_of_pgqueue_loads_no_optional_package():
    script = "import pgqueue, sys; print(*{'prometheus_client', 'sentry_sdk', 'structlog', 'opentelemetry.sdk'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
