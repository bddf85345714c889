"""The examples of docs/telemetry.md about structlog and Sentry run as they are written there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")


def example(heading: str) -> str:
    found = re.search(rf"^## {heading}\n.*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def told(dsn: str, script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, dsn],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


WORK = """
import sys
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker
app._dsn = sys.argv[1]

@app.task(name="greet", queue="mail")
{how}def greet():
    structlog.get_logger("shop").info("hello", customer=7)
    logging.getLogger("library").warning("odd")
    raise ValueError("no")

greet.using(max_attempts=1).enqueue()
Worker(app, WorkerSettings(queues={{"mail": None}}, drain=True)).run()
app.close()
"""


def test_with_structlog_each_line_of_a_handler_has_the_job_and_lines_of_pgqueue_are_json_too(dsn):
    for how in ("async ", ""):
        lines = [
            json.loads(line) for line in told(dsn, example("structlog") + WORK.format(how=how)).splitlines()
        ]
        [hello] = [line for line in lines if line["event"] == "hello"]
        [odd] = [line for line in lines if line["event"] == "odd"]
        [dead] = [line for line in lines if line["level"] == "error"]
        assert (hello["customer"], hello["task"], hello["queue"], hello["attempt"]) == (7, "greet", "mail", 1)
        assert hello["job_id"] == odd["job_id"] == dead["job_id"]
        assert not [line for line in lines if "job_id" in line and line["event"].startswith("worker")]


def test_the_example_for_sentry_runs(dsn):
    told(dsn, example("Sentry") + "\nassert app")
