"""Why a job is not running: each reason, its order among the others, and that it is never wrong about what the rows say."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue import App, statements
from pgqueue.database import run
from pgqueue.rows import Why
from tests.process.commands import pgq
from tests.stages.hands import Hand

WORKER = """
insert into pgqueue.workers (pid, slots, host, version, executor, queues, tasks, expires_at, state, heartbeat_at)
values (7, %(slots)s, 'h', '1.2', 'async', %(queues)s, %(tasks)s, now() + %(left)s::float8 * interval '1 s', %(state)s, '2026-01-01')
returning id
"""


def add(db: Connection[Any], **columns: Any) -> int:
    names = ", ".join(["task", *columns])
    values = ", ".join(["%(task)s", *(f"%({name})s" for name in columns)])
    text = f"insert into pgqueue.jobs ({names}) values ({values}) returning id"
    [(job,)] = db.execute(text.encode(), {"task": "t", **columns})
    return int(job)


def worker(db: Connection[Any], **changes: Any) -> int:
    given = {"slots": 1, "queues": ["default"], "tasks": ["t"], "left": 30, "state": "running"}
    [(worker_id,)] = db.execute(WORKER, given | changes)
    return int(worker_id)


def why(db: Connection[Any], job: int) -> Why:
    return run(db, statements.why(job))


def test_a_number_that_no_job_has_had_yet(db: Connection[Any]) -> None:
    assert why(db, 10**6).sentence == "No job has had the number 1000000 yet."


def test_a_job_whose_transaction_is_open_is_not_there_for_others(db: Connection[Any], connect: Any) -> None:
    other = connect(autocommit=False)
    job = add(other)
    said = why(db, job)
    assert said.reason == "unknown"
    assert "is still open or was rolled back" in said.sentence
    other.commit()
    assert why(db, job).reason == "no_worker"


def test_one_reason_after_the_other_is_removed(db: Connection[Any]) -> None:
    """All stand in the job's way at once: they are told in the order in which one would remove them."""
    job = add(db, queue="mail", run_at=datetime.now(UTC) + timedelta(hours=3))
    db.execute("insert into pgqueue.queues (name, paused) values ('mail', true)")
    said = why(db, job)
    assert said.reason == "scheduled"
    assert said.sentence.startswith("It is due at ")
    assert "(in 3 h)" in said.sentence
    db.execute("update pgqueue.jobs_live set run_at = now() - interval '1 s'")
    assert why(db, job) == Why("paused", "Its queue mail is paused.", None, None, "pgq queues resume mail")
    db.execute("update pgqueue.queues set paused = false")
    assert why(db, job).sentence == "No living worker serves its queue mail; none is alive at all."
    worker(db)
    said = why(db, job)
    assert (said.reason, said.do) == ("no_worker", "pgq work -Q mail")
    assert said.sentence == "No living worker serves its queue mail; 1 serve other queues."
    worker(db, queues=["ma*"], tasks=["other"])
    said = why(db, job)
    assert (
        said.sentence
        == "No living worker of its queue mail knows the task t; the last that did was worker 1 on h (pgqueue 1.2), heard of last at 2026-01-01 00:00:00 UTC ({}).".format(
            said.sentence.rpartition("(")[2].rstrip(").")
        )
    )
    able = worker(db, queues=["ma*"], slots=2)
    assert why(db, job).reason == "due"
    before = add(db, queue="mail", priority=-1)
    said = why(db, job)
    assert (said.reason, said.ahead, said.sentence) == ("behind", 1, "1 due jobs are ahead of it.")
    for number in (before, add(db, queue="mail")):
        db.execute(
            "update pgqueue.jobs_live set state = 'running', worker_id = %s, started_at = now(), attempt = 1 where id = %s",
            [able, number],
        )
    said = why(db, job)
    assert (said.reason, said.ahead) == ("busy", 0)
    assert "All 2 slots of the 1 workers that can run it are taken, and 0 due jobs" in said.sentence


def test_the_start_is_estimated_from_what_started_last(db: Connection[Any]) -> None:
    able = worker(db)
    add(db, state="running", worker_id=able, started_at=datetime.now(UTC), attempt=1,
        run_at=datetime.now(UTC) - timedelta(minutes=10))  # fmt: skip
    job = add(db, run_at=datetime.now(UTC) - timedelta(minutes=4))
    said = why(db, job)
    assert said.reason == "busy"
    assert said.until is not None
    assert abs((said.until - datetime.now(UTC)).total_seconds() - 360) < 5
    assert "At the present pace it starts at about" in said.sentence


def test_running_lost_failed_and_final_jobs(app: App, db: Connection[Any]) -> None:
    hand = Hand(db, ["t"])
    job = add(db)
    assert [attempt.id for attempt in hand.claim()] == [job]
    assert why(db, job).reason == "running"
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    said = why(db, job)
    assert said.reason == "lost"
    assert said.sentence.endswith("the job will be rescued.")
    db.execute("delete from pgqueue.jobs_live where id = %s", [job])
    failed = add(
        db,
        state="retrying",
        attempt=2,
        run_at=datetime.now(UTC) + timedelta(minutes=5),
        last_error="E: no\nmore",
    )
    said = why(db, failed)
    assert said.reason == "backoff"
    assert said.sentence.startswith("Attempt 2 of 6 failed (E: no); the next is due at ")
    assert said.until is not None
    dead = add(db, state="dead", attempt=6, finished_at=datetime.now(UTC), last_error="E: no")
    said = why(db, dead)
    assert (said.reason, said.do) == ("dead", f"pgq jobs retry {dead}")
    assert ", after 6 of 6 attempts: E: no" in said.sentence
    done = add(db, state="completed", finished_at=datetime.now(UTC))
    assert why(db, done).sentence.startswith("It is completed since ")
    assert app.handle(done).why() == why(db, done)
    assert asyncio.run(awaited(app, done)) == why(db, done)


async def awaited(app: App, job: int) -> Why:
    try:
        return await app.handle(job).awhy()
    finally:
        await app.aclose()


def test_the_command_says_it_to_people_and_programs(dsn: str, db: Connection[Any], tmp_path: Path) -> None:
    job = add(db, queue="mail")
    said = pgq("why", str(job), cwd=tmp_path, dsn=dsn)
    assert said.stdout == "No living worker serves its queue mail; none is alive at all.\n"
    assert "pgq work -Q mail" in said.stderr
    as_json = pgq("why", str(job), "--json", cwd=tmp_path, dsn=dsn)
    assert json.loads(as_json.stdout)["reason"] == "no_worker"
    for unknown in ("77", str(2**64)):
        assert pgq("why", unknown, cwd=tmp_path, dsn=dsn).returncode == 5


# ------------------------------------------------------------------ against a model


@dataclass(frozen=True)
class Living:
    slots: int
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    left: int
    state: str

    def serves(self, queue: str) -> bool:
        return any(
            name == queue or (name.endswith("*") and queue.startswith(name[:-1])) for name in self.queues
        )

    @property
    def alive(self) -> bool:
        return self.left > 0 and self.state == "running"


workers = st.builds(
    Living, st.integers(0, 2), st.sampled_from([("a",), ("b",), ("a*", "c"), ()]), st.sampled_from([("t",), ("u",), ("t", "u")]),
    st.sampled_from([-5, 600]), st.sampled_from(["running", "draining", "stopped"]),
)  # fmt: skip
others = st.tuples(st.integers(-1, 1), st.integers(-60, 60), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    alive=st.lists(workers, max_size=3), beside=st.lists(others, max_size=4), paused=st.booleans(),
    state=st.sampled_from(["pending", "retrying"]), due_in=st.sampled_from([-30, 3600]),
)  # fmt: skip
def test_the_first_true_reason_is_told(
    db: Connection[Any],
    alive: list[Living],
    beside: list[tuple[int, int, bool]],
    paused: bool,
    state: str,
    due_in: int,
) -> None:
    db.execute("truncate pgqueue.workers, pgqueue.jobs_live, pgqueue.queues")
    db.execute("insert into pgqueue.queues (name, paused) values ('a', %s)", [paused])
    ids = [
        worker(db, slots=w.slots, queues=list(w.queues), tasks=list(w.tasks), left=w.left, state=w.state)
        for w in alive
    ]
    able = [
        (w, number)
        for w, number in zip(alive, ids, strict=True)
        if w.alive and w.serves("a") and "t" in w.tasks
    ]
    now = datetime.now(UTC)
    running = ahead = 0
    for priority, away, runs in beside:
        if runs and able:
            running += 1
            add(
                db,
                queue="a",
                state="running",
                worker_id=able[0][1],
                started_at=now,
                run_at=now - timedelta(days=1),
            )
        else:
            add(db, queue="a", priority=priority, run_at=now + timedelta(seconds=away))
            ahead += away < 0 and (priority, away) <= (0, -30)
    job = add(
        db, queue="a", state=state, run_at=now + timedelta(seconds=due_in), attempt=int(state == "retrying")
    )
    if due_in > 0:
        expected = "backoff" if state == "retrying" else "scheduled"
    elif paused:
        expected = "paused"
    elif not any(w.alive and w.serves("a") for w in alive):
        expected = "no_worker"
    elif not able:
        expected = "unknown_task"
    elif running >= sum(w.slots for w, _ in able):
        expected = "busy"
    else:
        expected = "behind" if ahead else "due"
    said = why(db, job)
    assert said.reason == expected
    if expected in ("busy", "behind", "due"):
        assert said.ahead == ahead
