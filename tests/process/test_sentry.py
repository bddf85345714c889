"""The recipe for Sentry, with the real SDK, whose transport keeps what it would send. A script in a new process runs the worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = """
import json, sys
import psycopg, sentry_sdk
from sentry_sdk.transport import Transport
from tenacity import wait_fixed
from pgqueue import App, Cancel, RetryPolicy, Snooze
from pgqueue.config import WorkerSettings
from pgqueue.integrations.sentry import use_sentry
from pgqueue.worker.worker import Worker

sent = []
class Kept(Transport):
    def capture_envelope(self, envelope):
        sent.extend(item.payload.json for item in envelope.items if item.payload.json)

sentry_sdk.init(dsn="https://key@127.0.0.1/1", transport=Kept, traces_sample_rate=1.0, default_integrations=False)
dsn = sys.argv[1]
app = App(dsn)

def work(**settings):
    with psycopg.connect(dsn, autocommit=True) as conn:
        while conn.execute("select from pgqueue.jobs_live").fetchone() is not None:
            Worker(app, WorkerSettings(queues={"*": None}, drain=True, **settings)).run()
"""

STORY = """
use_sentry(app, every_attempt={every_attempt})

@app.task(name="charge", queue="billing", retry=RetryPolicy(max_attempts=2, wait=wait_fixed(0.01)))
{how}def charge(password: str):
    copy = password
    raise ConnectionError(f"the bank does not know {{password}}")

@app.task(name="later", queue="lazy")
async def later(): raise Cancel

with sentry_sdk.start_transaction(name="order"):
    charge.enqueue("CANARY-1234567890")
    later.enqueue_many([{{}}, {{}}])
work(executor="{executor}")
app.close()
print(json.dumps(sent, default=str))
"""


def told(dsn: str, script: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD + script, dsn],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("how", "executor"), [("async ", "async"), ("", "thread")])
def test_sentry_gets_the_final_failure_with_its_job_and_spans_from_the_enqueue_to_each_attempt(
    dsn, how, executor
):
    sent = told(dsn, STORY.format(how=how, executor=executor, every_attempt=False))
    [order] = [one for one in sent if one.get("transaction") == "order"]
    attempts = [one for one in sent if one.get("type") == "transaction" and one["transaction"] == "charge"]
    [error] = [one for one in sent if "exception" in one]

    published = {span["description"]: span for span in order["spans"]}
    assert {span["op"] for span in published.values()} == {"queue.publish"}
    job_id = published["billing"]["data"]["messaging.message.id"]
    assert published["billing"]["data"]["messaging.destination.name"] == "billing"
    assert published["lazy"]["data"]["messaging.batch.message_count"] == 2

    assert [one["contexts"]["trace"]["op"] for one in attempts] == ["queue.process"] * 2
    for number, attempt in enumerate(attempts):
        trace = attempt["contexts"]["trace"]
        assert trace["trace_id"] == order["contexts"]["trace"]["trace_id"], (
            "sentry-trace travelled with the job"
        )
        assert trace["status"] == "internal_error"
        data = trace["data"]
        assert data["messaging.message.id"] == job_id
        assert data["messaging.destination.name"] == "billing"
        assert data["messaging.message.retry.count"] == number
        assert data["messaging.message.body.size"] == len('{"password": "CANARY-1234567890"}')
        assert data["messaging.message.receive.latency"] >= 0

    assert error["exception"]["values"][-1]["type"] == "ConnectionError"
    assert error["exception"]["values"][-1]["stacktrace"]["frames"]
    assert error["tags"] == {"pgqueue.task": "charge", "pgqueue.queue": "billing"}
    assert error["contexts"]["pgqueue job"]["attempt"] == 2
    assert error["contexts"]["pgqueue job"]["show"] == f"pgq jobs show {job_id}"
    assert error["contexts"]["trace"]["trace_id"] == order["contexts"]["trace"]["trace_id"]
    assert error["exception"]["values"][-1]["value"] == "the bank does not know [redacted]"
    assert error["exception"]["values"][-1]["stacktrace"]["frames"][-1]["vars"]
    assert "CANARY" not in json.dumps(sent), "secret values are masked, in local variables, too"


def test_sentry_gets_every_failed_attempt_if_that_is_asked_for(dsn):
    sent = told(dsn, STORY.format(how="async ", executor="async", every_attempt=True))
    attempts = [one["contexts"]["pgqueue job"]["attempt"] for one in sent if "exception" in one]
    assert attempts == [1, 2]
