"""Checks that pgqueue treats keys exactly as a simple model of keys does.

In random order, the test enqueues jobs with every option about duplicates, claims, settles and cancels jobs, and purges. Between these
events, time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import let_time_pass
from tests.worker_by_hand import Hand

TASK = "modelled"
THROTTLE, DEBOUNCE, DEBOUNCE_MAX, TTL, EXPIRES = 100.0, 50.0, 110.0, 150.0, 70.0
STEP = 20.0  # in one step, this many seconds pass in the model. The test itself takes far less time, so its own duration does not matter
OUTCOMES = {
    "completed": COMPLETED,
    "dead": Outcome.dead("permanent_error", ValueError("no")),
    "retrying": Outcome.retried(0.0, ValueError("no")),
}
MODES: dict[str, dict[str, Any]] = {
    "skip": {},
    "expiring": {"expires": EXPIRES},
    "replace": {"on_conflict": "replace"},
    "raise": {"on_conflict": "raise"},
    "throttle": {"throttle": THROTTLE},
    "debounce": {"debounce": DEBOUNCE, "debounce_max": DEBOUNCE_MAX},
    "idempotent": {"idempotency_ttl": TTL},
}
keys = st.sampled_from(["a", "b"])
values = st.integers(0, 3)
items = st.tuples(st.sampled_from(sorted(MODES)), keys, values)


@dataclass
class ModelJob:
    """The values that a job should have. ``due`` is its run_at, and ``since`` is the time of its enqueue, both by the clock of the model."""

    n: int
    key: str | None
    due: float
    since: float
    state: str = "pending"
    expires: float | None = None

    def is_over(self, now: float) -> bool:
        return self.state in ("pending", "retrying") and self.expires is not None and self.expires <= now


class Keys(RuleBasedStateMachine):
    db: Connection[Any]

    @initialize()
    def begin(self) -> None:
        self.db.execute("truncate pgqueue.jobs, pgqueue.idempotency_keys, pgqueue.workers")
        self.hand = Hand(self.db, [TASK])
        self.now = 0.0
        self.jobs: dict[int, ModelJob] = {}
        # For each key: the id of the job that was stored, and the end of its throttle.
        self.throttled: dict[str, tuple[int, float]] = {}
        # For each key: the id of the job that was debounced last.
        self.debounced: dict[str, int] = {}
        # For each idempotency key: the id of the job, its argument ``n``, and the time at which the key expires.
        self.requests: dict[str, tuple[int, int, float]] = {}
        self.running: dict[int, Any] = {}

    # -------------------------------------------------------------- the events

    @rule(item=items)
    def enqueue(self, item: tuple[str, str, int]) -> None:
        self.expect([item])

    @rule(
        mode=st.sampled_from(["skip", "expiring", "replace", "throttle", "debounce"]),
        chosen=st.lists(st.tuples(keys, values), max_size=4),
    )
    def enqueue_many(self, mode: str, chosen: list[tuple[str, int]]) -> None:
        # A call stores one job for each key, and this job is the last item with the key.
        if mode == "debounce":
            chosen = list(dict(chosen).items())
        self.expect([(mode, key, n) for key, n in chosen])

    @rule(count=st.integers(1, 2))
    def claim(self, count: int) -> None:
        for attempt in self.hand.claim(count):
            job = self.jobs[attempt.id]
            assert job.state in ("pending", "retrying")
            assert job.due <= self.now + STEP / 2
            assert not job.is_over(self.now)
            job.state = "running"
            self.running[attempt.id] = attempt

    @precondition(lambda self: self.running)
    @rule(data=st.data(), end=st.sampled_from(sorted(OUTCOMES)))
    def settle(self, data: Any, end: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        assert self.hand.settle(self.running.pop(job_id), OUTCOMES[end])
        self.jobs[job_id].state = end
        self.jobs[job_id].due = self.now
        if end == "retrying":  # a job that has started does not expire
            self.jobs[job_id].expires = None

    @rule()
    def finish_overdue(self) -> None:
        run(self.db, statements.finish_overdue(100))
        for job in self.jobs.values():
            if job.is_over(self.now):
                job.state = "cancelled"

    @precondition(lambda self: any(job.state in ("pending", "retrying") for job in self.jobs.values()))
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        unclaimed = sorted(
            job_id for job_id, job in self.jobs.items() if job.state in ("pending", "retrying")
        )
        job_id = data.draw(st.sampled_from(unclaimed))
        assert run(self.db, statements.cancel(job_id)) == "cancelled"
        self.jobs[job_id].state = "cancelled"

    @rule(steps=st.integers(1, 4))
    def time_passes(self, steps: int) -> None:
        let_time_pass(self.db, steps * STEP)
        self.now += steps * STEP

    @rule()
    def purge(self) -> None:
        run(self.db, statements.purge(100))

    # -------------------------------------------------------------- the results that the model expects

    def expect(self, chosen: list[tuple[str, str, int]]) -> None:
        named = [
            {"idempotency_key" if mode == "idempotent" else "unique_key": key, **MODES[mode]}
            for mode, key, _ in chosen
        ]
        jobs = [
            {"task": TASK, "args": {"n": n}, "max_attempts": 10_000, **options}
            for (_, _, n), options in zip(chosen, named, strict=True)
        ]
        rows = self.db.execute(
            "select id, created, state, conflict from pgqueue.enqueue_many(%s) order by item", [Jsonb(jobs)]
        ).fetchall()
        for found, (mode, key, n) in zip(rows, chosen, strict=True):
            job_id, created, state, conflict = found
            holder = self.holder(mode, key)
            if mode == "idempotent" and holder is not None and self.requests[key][1] != n:
                assert found == (holder, False, self.jobs[holder].state, "idempotency_mismatch")
            elif holder is not None:
                expected = {"idempotent": "idempotency_key", "raise": "duplicate"}.get(
                    mode, mode if mode in ("throttle", "debounce") else "unique_key"
                )
                assert found == (holder, False, self.jobs[holder].state, expected)
                self.replace(holder, mode, n)
            else:
                assert (created, state, conflict) == (True, "pending", None)
                self.create(job_id, mode, key, n)

    def holder(self, mode: str, key: str) -> int | None:
        if mode == "throttle":
            job_id, until = self.throttled.get(key, (0, -1.0))
            return job_id if until > self.now else None
        if mode == "idempotent":
            job_id, _, until = self.requests.get(key, (0, 0, -1.0))
            return job_id if until > self.now else None
        if mode == "debounce":
            job_id = self.debounced.get(key, 0)
            return job_id if job_id and self.jobs[job_id].state in ("pending", "retrying") else None
        held = [
            job_id for job_id, job in self.jobs.items()
            if job.key == key and job.state in ("pending", "retrying", "running")
        ]  # fmt: skip
        assert len(held) <= 1
        if held and self.jobs[held[0]].is_over(self.now):
            self.jobs[held[0]].state = "cancelled"
            return None
        return held[0] if held else None

    def replace(self, holder: int, mode: str, n: int) -> None:
        job = self.jobs[holder]
        if mode == "debounce":
            job.n, job.due = n, min(self.now + DEBOUNCE, job.since + DEBOUNCE_MAX)
        elif mode == "replace" and job.state != "running":
            job.n, job.due, job.expires = n, self.now, None

    def create(self, job_id: int, mode: str, key: str, n: int) -> None:
        due = self.now + (DEBOUNCE if mode == "debounce" else 0)
        self.jobs[job_id] = ModelJob(
            n, key if mode in ("skip", "expiring", "replace", "raise") else None, due, self.now
        )
        if mode == "expiring":
            self.jobs[job_id].expires = self.now + EXPIRES
        if mode == "throttle":
            self.throttled[key] = (job_id, self.now + THROTTLE)
        elif mode == "idempotent":
            self.requests[key] = (job_id, n, self.now + TTL)
        elif mode == "debounce":
            self.debounced[key] = job_id

    @invariant()
    def the_database_has_the_jobs_of_the_model(self) -> None:
        rows = self.db.execute(
            "select id, state, (args -> 'n')::int, unique_key, extract(epoch from run_at - clock_timestamp())::float8"
            " from pgqueue.jobs"
        ).fetchall()
        assert {row[0] for row in rows} == self.jobs.keys()
        for job_id, state, n, key, due_in in rows:
            job = self.jobs[job_id]
            assert (state, n, key) == (job.state, job.n, job.key)
            if state in ("pending", "retrying"):
                assert abs(due_in - (job.due - self.now)) < STEP / 2


def test_pgqueue_treats_keys_as_the_model_does(db: Connection[Any]) -> None:
    machine = type("KeysHere", (Keys,), {"db": db})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
