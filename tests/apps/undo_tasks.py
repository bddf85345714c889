"""Tasks of a workflow that is undone. Each writes a row in the transaction that completes it, and can kill its process at one point."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pgqueue import App, Dead, Job

PATH = "tests.apps.undo_tasks:app"
FOLDER = "TEST_UNDO_FOLDER"  # the environment variable with the folder that has a file for each kill
app = App(name="undoing")


def die_at(job: Job, point: str, here: str) -> None:
    """Kills this process if ``here`` is the point at which it must die, but only once."""
    mark = Path(os.environ[FOLDER]) / f"{point} of {job.args['flow']}"
    if point == here and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="act", retry=[0.0] * 8)
def act(job: Job, flow: int, what: str, point: str) -> None:
    die_at(job, point, f"before {what}")
    with job.transaction() as connection:
        connection.execute("insert into acts (flow, what) values (%s, %s)", [flow, what])
        die_at(job, point, f"inside {what}")
    die_at(job, point, f"after {what}")


@app.task(name="fail", retry=[0.0] * 8)
def fail(job: Job, flow: int, point: str) -> None:
    die_at(job, point, "before fail")
    raise Dead("it fails for good")
