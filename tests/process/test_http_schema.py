"""schemathesis calls every route of the HTTP API as the OpenAPI document describes it, and checks every answer against the document.

By default it makes a few examples of each route, so that the test is quick. PGQUEUE_SCHEMA_EXAMPLES sets their number, and adds the phases that
take longer: the limits of each parameter one by one, and sequences of requests that depend on each other. Before a release:
``PGQUEUE_SCHEMA_EXAMPLES=200 pytest -n 0 tests/process/test_http_schema.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pgqueue.ui import api
from pgqueue.ui.access import guesses
from pgqueue.ui.api import events, feed, following, waiting
from tests.factories import add_jobs
from tests.http_servers import Tokens, served

ROOT = Path(__file__).parents[2]
EXAMPLES = os.environ.get("PGQUEUE_SCHEMA_EXAMPLES")
PHASES = "fuzzing" if EXAMPLES is None else "examples,coverage,fuzzing,stateful"


# These things are said in words only: which options of a job exclude each other, that args contains an object, and that an operation names jobs.
CONFIG = """
[[operations]]
include-operation-id = ["enqueueJob", "enqueueBatch", "listJobs", "beginOperation", "streamEvents", "followEvents"]
checks.positive_data_acceptance.enabled = false

[checks]
# The usual ones of schemathesis, and 414: a query can be wrong and too long.
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "414", "415", "422", "428", "429", "5xx"]
"""


def test_every_answer_fits_the_openapi_document(dsn, db, tmp_path, monkeypatch):
    monkeypatch.setattr(guesses, "ALLOWED", 10**9)  # schemathesis also tries wrong tokens
    monkeypatch.setattr(waiting, "LONGEST", 0.05)
    monkeypatch.setattr(events, "LONGEST", 0.05)
    monkeypatch.setattr(following, "LONGEST", 0.05)
    monkeypatch.setattr(feed, "MOST_OF_ONE", 1000)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    add_jobs(db, count=5)
    tokens = Tokens()
    with served(api.create(dsn, access=tokens.access())) as port:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", f"http://127.0.0.1:{port}/api/v1/openapi.json",
                "--header", f"Authorization: Bearer {tokens.add()}", "--max-examples", EXAMPLES or "10", "--phases", PHASES, "--seed", "1",
                # PostgreSQL stores no U+0000, and no pattern of the document can say so of every text inside any JSON.
                "--generation-allow-x00", "false", "--no-color", "--workers", "1",
                "--continue-on-failure",
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.http_formats"},
            cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
