"""With a real OpenTelemetry SDK, one trace leads from the enqueue of a job to its attempt.

Each test runs its script in a new process, because a process can set its tracer provider only once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

app = App(sys.argv[1])

@app.task(name="good")
async def good(): ...

@app.task(name="bad", retry=False)
def bad():
    raise ValueError("no")

with trace.get_tracer("shop").start_as_current_span("order"):
    good.enqueue()
    bad.enqueue()
Worker(app, WorkerSettings(queues={"default": None}, drain=True)).run()
app.close()
print(json.dumps([
    {"name": s.name, "trace": s.context.trace_id, "failed": not s.status.is_ok, "task": dict(s.attributes).get("pgqueue.task")}
    for s in exporter.get_finished_spans()
]))
"""


def test_an_attempt_belongs_to_the_trace_in_which_its_job_was_enqueued(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, dsn],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spans = json.loads(done.stdout)
    assert len({span["trace"] for span in spans}) == 1
    assert sorted((span["name"], span["task"], span["failed"]) for span in spans if span["task"]) == [
        ("pgqueue.enqueue", "bad", False),
        ("pgqueue.enqueue", "good", False),
        ("pgqueue.run", "bad", True),
        ("pgqueue.run", "good", False),
    ]


SECRET = """
import sys
from typing import Annotated
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pgqueue import App, Redact
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
app = App(sys.argv[1])

@app.task(name="bad", retry=False)
async def bad(key: Annotated[str, Redact], password: str = ""):
    raise ValueError(f"no {key} {password}")

bad.enqueue(key="CANARY-7f3a", password="CANARY-81bc")
Worker(app, WorkerSettings(queues={"default": None}, drain=True)).run()
app.close()
print([span.to_json() for span in exporter.get_finished_spans()])
"""


def test_a_span_contains_no_secret_value_of_its_job(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SECRET, dsn],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no [redacted] [redacted]" in done.stdout
    assert "CANARY" not in done.stdout + done.stderr


HOSTILE = """
import sys
import psycopg
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from pgqueue import App, Snooze
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker

class Broken(SpanProcessor):
    def on_start(self, span, parent_context=None):
        if span.attributes.get("messaging.message.id", "0") in ("1", "2"):
            raise ValueError("start")
    def on_end(self, span):
        raise ValueError("end")

class UnsaidError(Exception):
    def __str__(self):
        raise SystemExit(1)

provider = TracerProvider()
provider.add_span_processor(Broken())
trace.set_tracer_provider(provider)
app = App(sys.argv[1])

@app.task(name="good")
async def good(): ...

@app.task(name="also")
def also(): ...

@app.task(name="bad", retry=False)
def bad():
    raise UnsaidError

with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    for context in ('5', '[1]', '"x"', '{"traceparent": 5}', '{"traceparent": "00-no-no-no"}', '{"tracestate": [1], "baggage": {}}', 'null'):
        for task in ("good", "also"):
            conn.execute("insert into pgqueue.jobs (task, trace_context) values (%s, %s::jsonb)", [task, context])
    conn.execute("insert into pgqueue.jobs (task) values ('bad')")
    Worker(app, WorkerSettings(queues={"default": None}, drain=True)).run()
    app.close()
    print(sorted(conn.execute("select task, state, count(*) from pgqueue.jobs group by 1, 2").fetchall()))
"""


def test_bad_trace_contexts_and_failing_span_processors_change_no_outcome(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, dsn],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.strip() == "[('also', 'completed', 7), ('bad', 'dead', 1), ('good', 'completed', 7)]"
    ), done.stderr
