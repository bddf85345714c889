"""Metrics of a real worker, as OpenTelemetry's SDK and Prometheus's parser get them, and the output of ``pgq metrics``.

A process can set its meter provider only once, so a script in a new process runs the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import Connection

from pgqueue.telemetry.instruments import INSTRUMENTS, label_name
from tests.factories import add_jobs
from tests.process.worker_processes import QUICK, WorkerProcesses
from tests.waiting import STARTS, wait_until

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, sys
import psycopg
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pgqueue import App, Job, RetryPolicy
from tenacity import wait_fixed
from pgqueue.config import WorkerSettings
from pgqueue.telemetry.prometheus import prometheus_text
from pgqueue.worker.worker import Worker

reader = InMemoryMetricReader()
api.set_meter_provider(MeterProvider([reader]))
app = App(sys.argv[1])

@app.task(name="good", queue="mail")
async def good(): ...

@app.task(name="thread", queue="mail")
def thread(): return 7

@app.task(name="own", queue="mail")
def own(job: Job):
    with job.transaction():
        pass

@app.task(name="bad", queue="mail", retry=RetryPolicy(max_attempts=2, wait=wait_fixed(0.01)))
def bad():
    raise ValueError("no")

good.enqueue_many([{} for _ in range(5)])
for task in (thread, own, bad):
    task.enqueue()
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    while conn.execute("select from pgqueue.jobs_live").fetchone() is not None:
        Worker(app, WorkerSettings(queues={"mail": None}, drain=True)).run()
app.close()
print(json.dumps({"prometheus": prometheus_text().decode(), "sdk": json.loads(reader.get_metrics_data().to_json())}))
"""


@pytest.fixture
def reported(dsn: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, dsn],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def of_prometheus(text: str) -> Series:
    """Returns the values of counters and gauges, and the number of values of histograms, by the name of the metric and its labels."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_sum")):
                labels = frozenset((name, value) for name, value in sample.labels.items() if value)
                found[sample.name.removesuffix("_total"), labels] = sample.value
    return found


def of_the_sdk(data: Any) -> Series:
    found: Series = {}
    for metric in data["resource_metrics"][0]["scope_metrics"][0]["metrics"]:
        instrument = INSTRUMENTS[metric["name"]]
        assert (metric["unit"], metric["description"]) == (instrument.unit, instrument.help)
        for point in metric["data"]["data_points"]:
            labels = frozenset((label_name(name), value) for name, value in point["attributes"].items())
            is_histogram = "explicit_bounds" in point
            if is_histogram:
                assert tuple(point["explicit_bounds"]) == instrument.buckets
            name = instrument.exposed + ("_count" if is_histogram else "")
            found[name, labels] = point["count" if is_histogram else "value"]
    return found


def test_prometheus_and_the_sdk_get_the_same_numbers_of_a_worker(reported):
    found = of_prometheus(reported["prometheus"])
    assert of_the_sdk(reported["sdk"]) == found

    def completions(task: str, outcome: str) -> float:
        labels = frozenset({"queue": "mail", "task": task, "outcome": outcome}.items())
        return found["pgqueue_job_completions", labels]

    assert completions("good", "completed") == 5
    assert completions("thread", "completed") == completions("own", "completed") == 1
    assert completions("bad", "retried") == completions("bad", "dead") == 1

    process = {
        "messaging_operation_name": "process",
        "messaging_system": "pgqueue",
        "messaging_destination_name": "mail",
    }
    for task, error, count in (("good", "", 5), ("own", "", 1), ("bad", "ValueError", 2)):
        more = {"pgqueue_task_name": task} | ({"error_type": error} if error else {})
        assert found["messaging_process_duration_seconds_count", frozenset((process | more).items())] == count
    received = {**process, "messaging_operation_name": "receive"}
    assert found["messaging_client_consumed_messages", frozenset(received.items())] == 9
    assert found["pgqueue_job_wait_duration_seconds_count", frozenset({("queue", "mail")})] == 9
    sent = {**process, "messaging_operation_name": "send", "pgqueue_task_name": "good"}
    assert found["messaging_client_sent_messages", frozenset(sent.items())] == 5


def test_pgq_metrics_prints_the_numbers_of_the_whole_queue(pgq, db):
    add_jobs(db, task="greet", count=3, queue="mail")
    add_jobs(db, task="greet", queue="mail", run_at="2030-01-01Z")
    done = pgq("metrics")
    assert done.code == 0, done.err
    found = of_prometheus(done.out)
    counts = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "pgqueue_job_count"}  # fmt: skip
    assert counts == {"due": 3, "scheduled": 1, "waiting": 0, "running": 0, "dead": 0}
    assert found["pgqueue_queue_latency_seconds", frozenset({("queue", "mail")})] > 0
    assert found["pgqueue_worker_count", frozenset()] == 0
    assert ("pgqueue_table_dead_tuple_count", frozenset({("table", "jobs_live")})) in found


def test_counters_do_not_go_back_if_a_worker_process_is_killed_and_the_leader_alone_reports_the_queue(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = int(one.getsockname()[1])

    def scraped() -> Series:
        with contextlib.suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            return of_prometheus(connection.getresponse().read().decode())
        return {}

    def completed() -> float:
        return sum(value for (name, _), value in scraped().items() if name == "pgqueue_job_completions")

    workers.start("-A", "tests.apps.silent_parts:app", *QUICK, "--processes", "2", "--health-port", str(port))
    add_jobs(db, task="nothing", count=20)
    wait_until(lambda: completed() == 20, STARTS)
    wait_until(lambda: ("pgqueue_worker_count", frozenset()) in scraped())
    pid = db.execute("select pid from pgqueue.workers order by id limit 1").fetchone()
    assert pid is not None
    os.kill(pid[0], signal.SIGKILL)
    add_jobs(db, task="nothing", count=5)
    wait_until(lambda: completed() == 25)
