"""With a real OpenTelemetry SDK, spans and links lead from a business transaction over the enqueue to each attempt of a job.

Each test runs its script in a new process, because a process can set its tracer provider only once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import command_line

# The names of the conventions for messaging spans, and pgqueue's own names. For each operation: its type and the kind of its span.
OPERATIONS = {
    "send": ("send", {"PRODUCER", "CLIENT"}),
    "create": ("create", {"PRODUCER"}),
    "process": ("process", {"CONSUMER"}),
    "receive": ("receive", {"CLIENT"}),
    "ack": ("settle", {"CLIENT"}),
    "settle": ("settle", {"CLIENT"}),
}
OWN = {"messaging.destination.name", "messaging.client.id", "messaging.batch.message_count"}
REQUIRED = {"messaging.system", "messaging.operation.name", "messaging.operation.type"}
SOMETIMES = {
    "receive": OWN, "ack": OWN, "settle": OWN,
    "send": {"messaging.destination.name", "messaging.message.id", "messaging.batch.message_count", "server.address", "server.port",
             "error.type", "pgqueue.task.name"},
    "create": {"messaging.destination.name", "messaging.message.id", "server.address", "server.port", "pgqueue.task.name"},
    "process": {"messaging.destination.name", "messaging.message.id", "messaging.message.conversation_id", "messaging.client.id",
                "server.address", "server.port", "error.type", "pgqueue.task.name", "pgqueue.job.attempt", "pgqueue.job.max_attempts",
                "pgqueue.worker.version"},
}  # fmt: skip

HEAD = """
import json, sys
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tenacity import wait_fixed
import psycopg
from pgqueue import App, Cancel, Job, RetryPolicy, Snooze
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker

exporter = InMemorySpanExporter()
started = {}
class AtStart(SpanProcessor):
    def on_start(self, span, parent_context=None):
        started[span.context.span_id] = sorted(span.attributes)
provider = TracerProvider()
provider.add_span_processor(AtStart())
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
dsn = sys.argv[1]
app = App(dsn)
shop = trace.get_tracer("shop")

def work(**settings):
    with psycopg.connect(dsn, autocommit=True) as conn:
        while conn.execute("select from pgqueue.jobs_live").fetchone() is not None:
            Worker(app, WorkerSettings(queues={"*": None}, drain=True, **settings)).run()

def report():
    app.close()
    print(json.dumps([
        {"name": s.name, "kind": s.kind.name, "trace": s.context.trace_id, "id": s.context.span_id,
         "parent": s.parent and s.parent.span_id, "links": [l.context.span_id for l in s.links],
         "status": s.status.status_code.name, "description": s.status.description, "attributes": dict(s.attributes),
         "at_start": started[s.context.span_id], "schema": s.instrumentation_scope.schema_url,
         "exceptions": [dict(e.attributes)["exception.type"] for e in s.events if e.name == "exception"]}
        for s in exporter.get_finished_spans()]))
"""

Span = dict[str, Any]


def told(dsn: str, script: str, **environment: str) -> list[Span]:
    """Runs the script in a new process. Returns the spans that it reports. All of them have names and attributes of the conventions."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD + script + "\nreport()", dsn],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spans: list[Span] = json.loads(done.stdout.splitlines()[-1])
    for span in spans:
        if "messaging.system" in span["attributes"]:
            check_names(span)
    return spans


def check_names(span: Span) -> None:
    attributes = span["attributes"]
    operation = attributes["messaging.operation.name"]
    kind, spans = OPERATIONS[operation]
    assert (attributes["messaging.system"], attributes["messaging.operation.type"]) == ("pgqueue", kind)
    assert span["kind"] in spans
    assert span["name"] == f"{operation} {attributes.get('messaging.destination.name', '')}".strip()
    assert set(attributes) >= REQUIRED
    assert set(attributes) - REQUIRED <= SOMETIMES[operation]
    later = {"messaging.message.id"} if operation != "process" else set()
    assert set(attributes) - set(span["at_start"]) <= later | {"error.type"}, (
        "samplers see the attributes at the start"
    )
    assert span["schema"] == "https://opentelemetry.io/schemas/1.44.0"
    assert ("error.type" in attributes) is (span["status"] == "ERROR")
    assert span["status"] in ("UNSET", "ERROR")


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span["name"] == name]


def only(spans: list[Span], name: str) -> Span:
    [span] = named(spans, name)
    return span


STORY = """
@app.task(name="charge", queue="billing", retry=RetryPolicy(max_attempts=3, wait=wait_fixed(0.01)))
{how}def charge(job: Job):
    if job.attempt == 1:
        raise ConnectionError("the bank does not answer")
    assert baggage.get_baggage("customer") == "7"
    with shop.start_as_current_span("call the bank"):
        pass

context.attach(baggage.set_baggage("customer", "7"))
with shop.start_as_current_span("order"):
    charge.enqueue()
work(executor="{executor}")
"""


@pytest.mark.parametrize(("how", "executor"), [("async ", "async"), ("", "thread")])
def test_one_story_leads_from_the_order_over_a_failed_attempt_to_the_second_attempt(
    dsn: str, how: str, executor: str
) -> None:
    spans = told(dsn, STORY.format(how=how, executor=executor))
    order, send = only(spans, "order"), only(spans, "send billing")
    first, second = named(spans, "process billing")
    assert (send["parent"], send["trace"]) == (order["id"], order["trace"])
    assert first["links"] == [send["id"]]
    assert second["links"] == [send["id"], first["id"]], "the creation of the job, and the attempt before"
    assert first["parent"] is second["parent"] is None
    assert only(spans, "call the bank")["parent"] == second["id"], (
        "spans of the handler are within that of the attempt"
    )
    assert len({order["trace"], first["trace"], second["trace"]}) == 3
    job_id = send["attributes"]["messaging.message.id"]
    for number, span in enumerate((first, second), 1):
        assert span["attributes"]["messaging.message.id"] == job_id
        assert span["attributes"]["pgqueue.job.attempt"] == number
        assert span["attributes"]["pgqueue.job.max_attempts"] == 3
        assert span["attributes"]["pgqueue.task.name"] == "charge"
        assert "messaging.batch.message_count" not in span["attributes"]
    assert (first["status"], first["description"]) == ("ERROR", "the bank does not answer")
    assert (first["attributes"]["error.type"], first["exceptions"]) == (
        "ConnectionError",
        ["ConnectionError"],
    )
    assert (second["status"], second["exceptions"]) == ("UNSET", [])


APP = """
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from tenacity import wait_fixed
from pgqueue import App, RetryPolicy

class ToFile(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for s in spans:
                links = [link.context.span_id for link in s.links]
                file.write(json.dumps({"name": s.name, "id": s.context.span_id, "parent": s.parent and s.parent.span_id, "links": links}) + "\\n")
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)
app = App()

@app.task(name="crunch", executor="process", retry=RetryPolicy(max_attempts=2, wait=wait_fixed(0.01)))
def crunch():
    with trace.get_tracer("app").start_as_current_span("inner"):
        raise ValueError("no")
"""


def test_attempts_in_child_processes_are_linked_to_each_other_too(dsn, db, tmp_path) -> None:
    (tmp_path / "traced.py").write_text(APP)

    def pgq(*words: str) -> None:
        environment = {"SPANS": str(tmp_path / "spans")}
        done = command_line.pgq(*words, "-A", "traced:app", cwd=tmp_path, dsn=dsn, env=environment)
        assert done.returncode == 0, done.stderr

    pgq("enqueue", "crunch")
    while db.execute("select from pgqueue.jobs_live").fetchone() is not None:
        pgq("work", "--drain")
    spans = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
    send = only(spans, "send default")
    first, second = named(spans, "process default")
    assert (first["links"], second["links"]) == ([send["id"]], [send["id"], first["id"]])
    assert [one["parent"] for one in named(spans, "inner")] == [first["id"], second["id"]]


@pytest.mark.parametrize(
    ("relation", "is_child", "is_linked"),
    [("link", False, True), ("parent", True, False), ("both", True, True), ("nonsense", False, True)],
)
def test_a_setting_chooses_whether_attempts_are_linked_to_the_creation_or_its_children(
    dsn, relation, is_child, is_linked
) -> None:
    script = """
@app.task(name="t")
async def t(): ...
t.enqueue()
work()
"""
    spans = told(dsn, script, PGQUEUE_TRACE_RELATION=relation)
    send, process = only(spans, "send default"), only(spans, "process default")
    assert (process["parent"] == send["id"], send["id"] in process["links"]) == (is_child, is_linked)
    assert (process["trace"] == send["trace"]) is is_child


def test_each_job_of_a_small_batch_has_a_span_of_its_own_and_a_large_batch_has_one(dsn: str) -> None:
    script = """
@app.task(name="t", queue="mail")
async def t(n: int): ...
t.enqueue_many([{"n": 1}, {"n": 2}], idempotency_keys=["a", "b"])
t.using(queue="bulk").enqueue_many([{"n": n} for n in range(150)])
work()
"""
    spans = told(dsn, script)
    send, created = only(spans, "send mail"), named(spans, "create mail")
    assert send["kind"] == "CLIENT"
    assert send["attributes"]["messaging.batch.message_count"] == 2
    assert send["links"] == [one["id"] for one in created]
    assert sorted(one["links"] for one in named(spans, "process mail")) == sorted(
        [one["id"]] for one in created
    )
    ids = {one["id"]: one["attributes"]["messaging.message.id"] for one in created}
    for span in named(spans, "process mail"):
        assert ids[span["links"][0]] == span["attributes"]["messaging.message.id"]
    large = only(spans, "send bulk")
    assert (large["kind"], large["attributes"]["messaging.batch.message_count"]) == ("PRODUCER", 150)
    assert not named(spans, "create bulk")
    assert {tuple(one["links"]) for one in named(spans, "process bulk")} == {(large["id"],)}


def test_the_context_travels_with_workflows_hooks_children_and_jobs_that_sql_enqueues(dsn: str) -> None:
    script = """
@app.task(name="a")
async def a(): ...
@app.task(name="b", queue="b")
async def b(): ...
@a.on_completed
async def seen(event): ...
with shop.start_as_current_span("order"):
    with app.workflow("flow") as w:
        w.add(b.job(), after=w.add(a.job()))
    headers = {}
    from opentelemetry.propagate import inject
    inject(headers)
with psycopg.connect(dsn) as conn:
    options = json.dumps({"queue": "sql", "trace_context": headers})
    conn.execute("select pgqueue.enqueue('b', '{}', %s::jsonb)", [options])
    conn.execute("insert into pgqueue.jobs (task, queue, trace_context) values ('b', 'plain', %s::jsonb)", [json.dumps(headers)])
work()
"""
    spans = told(dsn, script)
    order, send = only(spans, "order"), only(spans, "send")
    assert send["attributes"]["messaging.batch.message_count"] == 2
    assert only(spans, "process default")["links"] == only(spans, "process b")["links"] == [send["id"]]
    flow = only(spans, "process b")["attributes"]["messaging.message.conversation_id"]
    assert only(spans, "process default")["attributes"]["messaging.message.conversation_id"] == flow
    assert only(spans, "process pgqueue.hooks")["links"] == [send["id"]]
    assert only(spans, "process sql")["links"] == only(spans, "process plain")["links"] == [order["id"]]


def test_only_failures_have_the_status_error_and_each_error_is_recorded_once(dsn: str) -> None:
    script = """
@app.task(name="snooze", queue="snooze")
async def snooze(job: Job):
    if not seen:
        seen.append(1)
        raise Snooze(0.1)
seen = []
@app.task(name="cancel", queue="cancel")
def cancel(): raise Cancel
@app.task(name="dead", queue="dead", retry=False)
def dead():
    try: raise KeyError("inner")
    except KeyError as error: raise ValueError("outer") from error
@app.task(name="chunk", queue="chunk", chunk=10, retry=False)
def chunk(calls: list[Job]): raise OSError("all")
for task in (snooze, cancel, dead):
    task.enqueue()
chunk.enqueue_many([{}, {}])
work()
"""
    spans = told(dsn, script)
    errors = {
        span["name"]: (span["status"], span["attributes"].get("error.type"), span["exceptions"])
        for span in spans
        if span["name"].startswith("process")
    }
    assert errors == {
        "process snooze": ("UNSET", None, []),
        "process cancel": ("UNSET", None, []),
        "process dead": ("ERROR", "ValueError", ["ValueError"]),
        "process chunk": ("ERROR", "OSError", ["OSError"]),
    }
    again = named(spans, "process snooze")[1]
    assert named(spans, "process snooze")[0]["id"] in again["links"]


def test_claims_and_writes_of_outcomes_have_spans_only_if_the_environment_asks_for_them(dsn: str) -> None:
    script = """
@app.task(name="t", queue="mail")
async def t(): ...
@app.task(name="bad", queue="mail", retry=False)
async def bad(): raise ValueError
t.enqueue()
bad.enqueue()
work()
"""
    own = {"receive", "ack mail", "settle mail"}
    assert own <= {span["name"] for span in told(dsn, script, PGQUEUE_TRACE_OPERATIONS="1")}
    assert not own & {span["name"] for span in told(dsn, script)}


def test_spans_that_a_sampler_drops_cost_no_job_and_the_decision_travels(dsn: str) -> None:
    script = """
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
provider.sampler = ALWAYS_OFF
trace.get_tracer_provider()._disabled = False
@app.task(name="t")
async def t(): ...
t.enqueue()
t.enqueue_many([{}, {}])
work()
with psycopg.connect(dsn) as conn:
    assert conn.execute("select count(*) from pgqueue.jobs where state = 'completed'").fetchone() == (3,)
"""
    told(dsn, script)


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
