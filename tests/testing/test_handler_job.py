"""``handler_job`` makes a ``Job`` for the unit test of a handler, without a database."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest

from pgqueue import App, Cancel, Job
from pgqueue.errors import (
    DuplicateStepError,
    JobTimeoutError,
    LeaseLostError,
    SignalTimeoutError,
    StepRefusedError,
)
from pgqueue.integrations.testing import handler_job
from pgqueue.model.suspension import Suspended

app = App(name="shop")


def charge(order: int) -> date:
    return date(2026, 1, order)


@app.task(name="ship")
def ship(job: Job, order: int) -> str:
    for _ in job.track(range(3)):
        job.check()
    day = job.step("charge", charge, order)
    job.sleep("rest", "1h")
    return f"{day} {job.attempt} {job.wait_for('approved', timeout=1, default=None)}"


def test_a_handler_reports_and_does_steps() -> None:
    job = handler_job(ship, attempt=2, tags=("a",))
    assert isinstance(job, Job)
    assert ship(job, 7) == "2026-01-07 2 None"
    assert [report.done for report in job.progresses][-1] == 3
    assert job.steps == {"charge": "2026-01-07"}
    assert job.sleeps == [("rest", 3600.0)]
    assert (job.task, job.tags, job.queue) == ("ship", ("a",), "default")
    with pytest.raises(DuplicateStepError):
        ship(job, 7)
    assert ship(job.next_attempt(), 9) == "2026-01-07 3 None", "the stored step is not done again"


def test_what_a_worker_would_answer_can_be_given() -> None:
    job = handler_job(ship, steps={"charge": "2030-05-05"}, signals={"approved": {"by": "ann"}})
    assert "2030-05-05" in ship(job, 1)
    assert "ann" in ship(handler_job(ship, signals={"approved": {"by": "ann"}}), 1)


@pytest.mark.parametrize(
    ("how", "error"), [("stop", Cancel), ("time_out", JobTimeoutError), ("lose_lease", LeaseLostError)]
)
def test_a_job_is_stopped(how: str, error: type[Exception]) -> None:
    job = handler_job(ship)
    getattr(job, how)()
    with pytest.raises(error):
        ship(job, 1)


def test_waits_and_gathers() -> None:
    with pytest.raises(Suspended):
        handler_job().wait_for("approved")
    with pytest.raises(SignalTimeoutError):
        handler_job().wait_for("approved", timeout="1d")
    children = [ship.job(order=1), ship.job(order=2)]
    job = handler_job(gathers={"parts": [1, 2]})
    assert job.gather("parts", children) == [1, 2]
    assert job.gathered == children
    with pytest.raises(StepRefusedError, match="give the results of the 2 children"):
        handler_job().gather("parts", children)


def test_what_needs_a_database_says_so() -> None:
    with pytest.raises(StepRefusedError, match=r"job.transaction\(\) needs a database"):
        handler_job().transaction()
    job = handler_job(saved=5)
    assert job.saved == 5
    job.save({"page": 6})
    assert job.saved == {"page": 6}

    async def handler(job: Job) -> object:
        await job.asleep("rest", 5)
        return await job.astep("one", asyncio.sleep, 0, 3)

    assert asyncio.run(handler(handler_job())) == 3
