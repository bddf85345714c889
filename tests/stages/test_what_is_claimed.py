"""No claim takes a job that must not run. Each way of claiming is tested: without limits, under a limit, by turns, in order (with the option ordering), and by turns under a limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import Connection

from tests.factories import add_jobs, add_limit
from tests.worker_by_hand import LimitedHand

NOW = datetime.now(UTC)
WAYS = ("without limits", "under a limit", "by turns", "in order", "by turns under a limit")
# For each reason for which a job must not run: columns of such a job.
STATES: dict[str, dict[str, Any]] = {
    "expired": {"expires_at": NOW - timedelta(seconds=5)},
    "past its deadline": {"deadline_at": NOW - timedelta(seconds=5)},
    "asked to stop": {"cancel_requested": True},
    "of a task that the worker does not know": {"task": "strange"},
}


class Claims:
    """Adds jobs for one way of claiming, and claims in that way."""

    def __init__(self, db: Connection[Any], way: str) -> None:
        self.db, self.way = db, way
        self.player = LimitedHand(db, ["t", "u"])
        if way == "under a limit":
            add_limit(db, queue="default", concurrency=50)
        if way == "by turns under a limit":
            add_limit(db, queue="default", per_key=True, concurrency=50)

    def add(self, key: str, **columns: Any) -> int:
        if self.way in ("without limits", "under a limit"):
            return add_jobs(self.db, **columns)[0]
        if self.way == "in order":
            columns["ordering"] = "block"
        return add_jobs(self.db, key, **columns)[0]

    def claim(self, count: int = 10) -> list[int]:
        after = None if self.way == "under a limit" else ""
        found = (
            self.player.claim(count) if self.way == "without limits" else self.player.take(count, after=after)
        )
        return [attempt.id for attempt in found]


@pytest.fixture(params=WAYS)
def claims(request: pytest.FixtureRequest, db: Connection[Any]) -> Claims:
    return Claims(db, request.param)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("of", ["pending", "retrying"])
def test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task(
    claims: Claims, state: str, of: str
) -> None:
    claims.add("a", state=of, **STATES[state])
    good = claims.add("b", state=of)
    assert claims.claim() == [good]
    assert claims.claim() == []


def test_no_claim_takes_a_job_before_it_is_due(claims: Claims) -> None:
    """This is also true in the last second before the job is due, although an enqueue already wakes a worker if its job is due within a second."""
    early = claims.add("a")
    claims.db.execute(
        "update pgqueue.jobs_live set run_at = clock_timestamp() + interval '2 s' where id = %s", [early]
    )
    assert claims.claim() == []
    claims.db.execute(
        "update pgqueue.jobs_live set run_at = clock_timestamp() + interval '0.9 s' where id = %s", [early]
    )
    assert claims.claim() == []
    claims.db.execute("update pgqueue.jobs_live set run_at = clock_timestamp() where id = %s", [early])
    assert claims.claim() == [early]


@pytest.mark.parametrize(
    "change", ["expires_at = now() - interval '1 ms'", None], ids=["its lease has run out", "it has no row"]
)
def test_a_worker_without_a_lease_claims_nothing(claims: Claims, change: str | None) -> None:
    job = claims.add("a")
    claims.db.execute(
        f"update pgqueue.workers set {change}".encode() if change else "delete from pgqueue.workers"
    )
    assert claims.claim() == []
    claims.player = LimitedHand(claims.db, ["t"])
    assert claims.claim() == [job]


def test_no_claim_takes_a_job_of_a_paused_queue(claims: Claims) -> None:
    job = claims.add("a")
    claims.db.execute("update pgqueue.queues set paused = true")
    assert claims.claim() == []
    claims.db.execute("update pgqueue.queues set paused = false")
    assert claims.claim() == [job]


def test_each_job_is_claimed_once_and_each_claim_takes_at_most_the_requested_number_of_jobs(
    claims: Claims,
) -> None:
    jobs = [claims.add(f"{n}") for n in range(5)]
    first, rest = claims.claim(2), claims.claim()
    assert (len(first), sorted(first + rest)) == (2, jobs)
    assert claims.claim() == []


def test_jobs_are_claimed_in_the_order_of_run_at_and_then_of_id(claims: Claims) -> None:
    late, early, second = (claims.add("k", run_at=NOW - timedelta(seconds=ago)) for ago in (10, 50, 50))
    if claims.way == "in order":
        assert claims.claim(1) == [late], "jobs with ordering run in the order in which they were enqueued"
    else:
        assert [claims.claim(1) for _ in range(3)] == [[early], [second], [late]]
