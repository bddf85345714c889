"""``why`` says why a job is not running. These tests check each reason, the order of the reasons, and that the reason always agrees with the rows."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.jobs import Why
from tests.command_line import pgq
from tests.worker_by_hand import Hand

WORKER = """
insert into pgqueue.workers (pid, slots, host, version, executor, queues, queue_slots, tasks, expires_at, state, heartbeat_at)
values (7, %(slots)s, 'h', '1.2', 'async', %(queues)s, %(queue_slots)s, %(tasks)s, now() + %(left)s::float8 * interval '1 s', %(state)s, '2026-01-01')
returning id
"""


def add(db: Connection[Any], **columns: Any) -> int:
    names = ", ".join(["task", *columns])
    values = ", ".join(["%(task)s", *(f"%({name})s" for name in columns)])
    text = f"insert into pgqueue.jobs ({names}) values ({values}) returning id"
    [(job,)] = db.execute(text.encode(), {"task": "t", **columns})
    return int(job)


def worker(db: Connection[Any], **changes: Any) -> int:
    given = {
        "slots": 1,
        "queues": ["default"],
        "tasks": ["t"],
        "left": 30,
        "state": "running",
        "queue_slots": [],
    }
    [(worker_id,)] = db.execute(WORKER, given | changes)
    return int(worker_id)


def why(db: Connection[Any], job: int) -> Why:
    return run(db, statements.why(job))


def test_why_says_that_no_job_has_had_the_number_yet(db: Connection[Any]) -> None:
    assert why(db, 10**6).sentence == "No job has had the number 1000000 yet."


def test_why_says_that_the_transaction_of_a_job_is_still_open_or_was_rolled_back(
    db: Connection[Any], connect: Any
) -> None:
    other = connect(autocommit=False)
    job = add(other)
    said = why(db, job)
    assert said.reason == "unknown"
    assert "is still open or was rolled back" in said.sentence
    other.commit()
    assert why(db, job).reason == "no_worker"


def test_why_tells_a_quiet_worker_from_none(db: Connection[Any]) -> None:
    job = add(db, queue="mail")
    worker(db, queues=["mail"])
    db.execute("update pgqueue.workers set state = 'draining'")
    said = why(db, job)
    assert said.reason == "no_worker"
    assert (
        said.sentence == "No worker takes jobs of its queue mail: 1 worker serves it, but is quiet or stops."
    )
    other = worker(db, queues=["mail"], tasks=["other"])
    said = why(db, job)
    assert said.reason == "unknown_task"
    assert (
        said.sentence
        == "No worker of its queue mail takes the task t: 1 worker knows it, but is quiet or stops."
    )
    db.execute("update pgqueue.workers set queues = '{news}' where id <> %s", [other])
    db.execute("update pgqueue.workers set state = 'stopped' where id = %s", [other])
    assert why(db, job).sentence == "No living worker serves its queue mail; 1 worker serves other queues."


def test_why_reports_the_next_reason_when_the_first_reason_is_removed(db: Connection[Any]) -> None:
    """All reasons are true at the same time. ``why`` reports the reason that an operator would remove first."""
    job = add(db, queue="mail", run_at=datetime.now(UTC) + timedelta(hours=3))
    db.execute("insert into pgqueue.queues (name, paused) values ('mail', true)")
    said = why(db, job)
    assert said.reason == "scheduled"
    assert said.sentence.startswith("It is due at ")
    assert "(in 3 h)" in said.sentence
    db.execute("update pgqueue.jobs_live set run_at = now() - interval '1 s'")
    assert why(db, job) == Why("paused", "Its queue mail is paused.", None, None, "pgq queues resume mail")
    db.execute("update pgqueue.queues set paused = false")
    assert why(db, job).sentence == "No living worker serves its queue mail; no worker is alive."
    worker(db)
    said = why(db, job)
    assert (said.reason, said.do) == (
        "no_worker",
        "start a worker that has this task: pgq work -A module:app -Q mail",
    )
    assert said.sentence == "No living worker serves its queue mail; 1 worker serves other queues."
    worker(db, queues=["ma*"], tasks=["other"])
    said = why(db, job)
    assert (
        said.sentence
        == "No living worker of its queue mail knows the task t; the last one that knew it was worker 1 on h (pgqueue 1.2); its last heartbeat was at 2026-01-01 00:00:00 UTC ({}).".format(
            said.sentence.rpartition("(")[2].rstrip(").")
        )
    )
    able = worker(db, queues=["ma*"], slots=2)
    assert why(db, job).reason == "due"
    before = add(db, queue="mail", priority=-1)
    said = why(db, job)
    assert (said.reason, said.ahead, said.sentence) == ("behind", 1, "1 due job is ahead of it.")
    for number in (before, add(db, queue="mail")):
        db.execute(
            "update pgqueue.jobs_live set state = 'running', worker_id = %s, started_at = now(), attempt = 1 where id = %s",
            [able, number],
        )
    said = why(db, job)
    assert (said.reason, said.ahead) == ("busy", 0)
    expected = (
        "No slot is free on the 1 worker that can run it (2 of 2 taken), and no due job is ahead of it."
    )
    assert said.sentence.startswith(expected)


def runs(db: Connection[Any], worker_id: int, queue: str, seconds: int = 0) -> int:
    started = datetime.now(UTC) - timedelta(seconds=seconds)
    return add(db, queue=queue, state="running", worker_id=worker_id, started_at=started, attempt=1)


def test_why_says_how_many_slots_of_a_queue_are_taken_and_which_of_its_jobs_has_run_the_longest(
    db: Connection[Any],
) -> None:
    able = worker(db, slots=5, queues=["slow", "mail"], queue_slots=[2, None])
    runs(db, able, "mail")
    holder = runs(db, able, "slow", 240)
    job = add(db, queue="slow")
    assert why(db, job).reason == "due"
    runs(db, able, "slow", 5)
    said = why(db, job)
    assert (said.reason, said.ahead) == ("queue_slots", 0)
    assert said.sentence.startswith(
        f"No slot of its queue slow is free on the 1 worker that can run it (2 of 2 taken, the longest by job {holder} since "
    )
    assert "(4 m ago)), and no due job is ahead of it." in said.sentence
    assert why(db, add(db, queue="mail")).reason == "due"
    other = worker(db, slots=1, queues=["slow"])
    assert why(db, job).reason == "due"
    runs(db, other, "slow")
    assert why(db, job).reason == "queue_slots"
    assert "on the 2 workers" in why(db, job).sentence


def test_queues_that_fit_a_pattern_share_slots_but_a_queue_that_is_listed_by_name_has_separate_slots(
    db: Connection[Any],
) -> None:
    able = worker(db, slots=9, queues=["a*", "ab", "*"], queue_slots=[1, 1, None])
    runs(db, able, "ac")
    assert why(db, add(db, queue="ad")).reason == "queue_slots"
    assert why(db, add(db, queue="ab")).reason == "due"
    assert why(db, add(db, queue="z")).reason == "due"
    runs(db, able, "ab")
    assert why(db, add(db, queue="ab")).reason == "queue_slots"


def test_why_writes_a_rate_as_the_number_of_jobs_that_can_start_in_a_period(db: Connection[Any]) -> None:
    worker(db)
    db.execute(
        "insert into pgqueue.limits (queue, rate, period) values ('default', 40, '1 s'), ('b', 1, '90 m'), ('c', 1, '2 h')"
    )
    db.execute(
        "insert into pgqueue.seats (limit_id, key, taken, free_at) select id, '', 0, now() + interval '1 h' from pgqueue.limits"
    )
    assert "lets 40 jobs start every 1 s;" in why(db, add(db)).sentence
    worker(db, queues=["b", "c"])
    assert "lets 1 job start every 90 m;" in why(db, add(db, queue="b")).sentence
    assert "lets 1 job start every 2 h;" in why(db, add(db, queue="c")).sentence


def test_why_asks_for_the_right_to_read_the_sequence_if_the_role_lacks_it(
    admin: str, dsn: str, db: Connection[Any]
) -> None:
    with role(db, "reader", "grant select on all tables in schema pgqueue to {}") as name:
        add(db)
        db.execute("delete from pgqueue.jobs")
        db.execute(f"set role {name}")
        said = why(db, 1)
        assert (said.reason, said.do) == (
            "unknown",
            f"grant select on sequence pgqueue.jobs_id_seq to {name}",
        )
        assert said.sentence.startswith(
            f"There is no job 1 that the role {name} can see: no job has had the number yet, or "
        )
        db.execute("reset role")
        db.execute(f"grant select on sequence pgqueue.jobs_id_seq to {name}")
        db.execute(f"set role {name}")
        assert "is still open or was rolled back" in why(db, 1).sentence
        assert why(db, 2).sentence == "No job has had the number 2 yet."


def test_why_says_that_it_may_be_wrong_if_row_security_hides_rows_from_the_role(db: Connection[Any]) -> None:
    with role(
        db,
        "tenant",
        "grant select on all tables in schema pgqueue to {}; grant usage on all sequences in schema pgqueue to {}",
    ) as name:
        hidden, seen = add(db), add(db, meta='{"tenant": 1}')
        worker(db)
        for table in ("jobs", "workers"):
            db.execute(f"alter table pgqueue.{table} enable row level security".encode())
        db.execute(f"create policy own on pgqueue.jobs to {name} using (meta ->> 'tenant' = '1')".encode())
        db.execute(f"set role {name}")
        said = why(db, hidden)
        assert said.reason == "unknown"
        assert said.sentence.endswith(
            f" Row security hides rows of jobs, workers from the role {name}, so this may be wrong."
        )
        assert why(db, seen).reason == "no_worker"
        assert why(db, seen).sentence.endswith("so this may be wrong.")
        db.execute("reset role")


@contextmanager
def role(db: Connection[Any], word: str, grants: str) -> Iterator[str]:
    """Makes a role that has only these rights, yields its name, and drops the role at the end."""
    name = f"{word}_{secrets.token_hex(4)}"
    db.execute(f"create role {name}".encode())
    try:
        db.execute(f"grant usage on schema pgqueue to {name}; {grants.replace('{}', name)}".encode())
        db.execute(f"grant execute on all functions in schema pgqueue to {name}".encode())
        yield name
    finally:
        db.execute("reset role")
        db.execute(f"drop owned by {name}; drop role {name}".encode())


def test_why_estimates_the_start_of_a_job_from_the_last_job_that_started(db: Connection[Any]) -> None:
    able = worker(db)
    add(db, state="running", worker_id=able, started_at=datetime.now(UTC), attempt=1,
        run_at=datetime.now(UTC) - timedelta(minutes=10))  # fmt: skip
    job = add(db, run_at=datetime.now(UTC) - timedelta(minutes=4))
    said = why(db, job)
    assert said.reason == "busy"
    assert said.until is not None
    assert abs((said.until - datetime.now(UTC)).total_seconds() - 360) < 5
    assert "At the present pace it starts at about" in said.sentence


def test_why_has_separate_reasons_for_running_lost_failed_dead_and_completed_jobs(
    app: App, db: Connection[Any]
) -> None:
    hand = Hand(db, ["t"])
    job = add(db)
    assert [attempt.id for attempt in hand.claim()] == [job]
    assert why(db, job).reason == "running"
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    said = why(db, job)
    assert said.reason == "lost"
    assert said.sentence.endswith("the leader will rescue the job.")
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
    assert said.sentence.startswith("Attempt 2 of 6 failed (E: no); the next attempt is due at ")
    assert said.until is not None
    dead = add(db, state="dead", attempt=6, finished_at=datetime.now(UTC), last_error="E: no")
    said = why(db, dead)
    assert (said.reason, said.do) == ("dead", f"pgq jobs revive {dead}")
    assert ", after 6 of 6 attempts: E: no" in said.sentence
    done = add(db, state="completed", finished_at=datetime.now(UTC) - timedelta(hours=5))
    assert why(db, done).sentence.startswith("It has been completed since ")
    assert app.handle(done).why() == why(db, done)
    assert asyncio.run(awaited(app, done)) == why(db, done)


async def awaited(app: App, job: int) -> Why:
    try:
        return await app.handle(job).awhy()
    finally:
        await app.aclose()


def test_the_command_why_prints_a_sentence_for_people_and_json_for_programs(
    dsn: str, db: Connection[Any], tmp_path: Path
) -> None:
    job = add(db, queue="mail")
    said = pgq("why", str(job), cwd=tmp_path, dsn=dsn)
    assert said.stdout == "No living worker serves its queue mail; no worker is alive.\n"
    assert "pgq work -A module:app -Q mail" in said.stderr
    as_json = pgq("why", str(job), "--json", cwd=tmp_path, dsn=dsn)
    assert json.loads(as_json.stdout)["reason"] == "no_worker"
    for unknown in ("77", str(2**64)):
        assert pgq("why", unknown, cwd=tmp_path, dsn=dsn).returncode == 5


# ------------------------------------------------------------------ against a model


@dataclass(frozen=True)
class Living:
    """A row of the table of workers. ``own`` is the number of slots for each of its queues, and ``left`` the seconds until its lease ends."""

    slots: int
    own: int | None
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
    Living, st.integers(0, 2), st.sampled_from([None, 1, 2]), st.sampled_from([("a",), ("b",), ("a*", "c"), ()]), st.sampled_from([("t",), ("u",), ("t", "u")]),
    st.sampled_from([-5, 600]), st.sampled_from(["running", "draining", "stopped"]),
)  # fmt: skip
# Other jobs of the queue: (priority, seconds until run_at, whether a worker runs it).
others = st.tuples(st.integers(-1, 1), st.integers(-60, 60), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    alive=st.lists(workers, max_size=3), beside=st.lists(others, max_size=4), paused=st.booleans(),
    state=st.sampled_from(["pending", "retrying"]), due_in=st.sampled_from([-30, 3600]),
)  # fmt: skip
def test_why_reports_the_first_reason_that_is_true(
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
        worker(
            db,
            slots=w.slots,
            queues=list(w.queues),
            queue_slots=[w.own] * len(w.queues),
            tasks=list(w.tasks),
            left=w.left,
            state=w.state,
        )
        for w in alive
    ]
    able = [
        (w, number)
        for w, number in zip(alive, ids, strict=True)
        if w.alive and w.serves("a") and "t" in w.tasks
    ]
    now = datetime.now(UTC)
    ahead = 0
    running = dict.fromkeys([number for _, number in able], 0)
    for priority, away, runs in beside:
        if runs and able:
            _, number = able[priority % len(able)]
            running[number] += 1
            add(
                db,
                queue="a",
                state="running",
                worker_id=number,
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
    elif all(running[number] >= w.slots for w, number in able):
        expected = "busy"
    elif all(running[number] >= min(w.slots, w.own or 9) for w, number in able):
        expected = "queue_slots"
    else:
        expected = "behind" if ahead else "due"
    said = why(db, job)
    assert said.reason == expected
    if expected in ("busy", "queue_slots", "behind", "due"):
        assert said.ahead == ahead
