"""Tests of the checker. It must notice a faulty settle, rescue or claim statement, and for every invariant a row that breaks the invariant.

Each of the first tests forces a race with real connections or processes. The test runs once with the statement of pgqueue, and the checker
must find no broken invariant. The test also runs with the same statement broken on purpose, and the checker must find the fault.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import sql
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import decoding
from pgqueue.model.outcome import COMPLETED
from tests import checker, workflows
from tests.apps import workload
from tests.apps.workload import running_at_gate
from tests.process.sabotage import SABOTAGE
from tests.process.worker_processes import QUICK, WorkerProcesses, enqueue, gate, state_of
from tests.waiting import wait_until
from tests.worker_by_hand import Hand
from tests.workflows import group, node

Connect = Callable[..., Connection[Any]]


@pytest.fixture
def recorded(dsn: str) -> str:
    """Returns the DSN of a database in which every change of a job is recorded. The test itself calls the checker."""
    checker.install(dsn)
    return dsn


@pytest.fixture
def processes(recorded: str, tmp_path: Path):
    with WorkerProcesses(recorded, tmp_path) as started:
        yield started


def found(dsn: str) -> set[str]:
    """Returns the numbers of the broken invariants."""
    return {name.split()[0] for name in checker.violations(dsn)}


def use_broken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if not name:
        return
    statement, text = workload.broken_text(name)
    load = sql.load
    monkeypatch.setattr(decoding, "load", lambda wanted: text if wanted == statement else load(wanted))


# ---------------------------------------------------------------- settle: a zombie completes a job that another worker has


@pytest.mark.parametrize(
    ("broken", "caught"), [("", set()), ("settle_without_lease", {"I5"}), ("settle_without_fence", {"I5"})]
)
def test_the_checker_finds_a_broken_settle_if_a_zombie_settles_a_job_that_another_worker_runs(
    processes: WorkerProcesses, db: Connection[Any], broken: str, caught: set[str]
) -> None:
    """A stopped worker continues in the middle of its transaction when a second worker already runs the same job."""
    zombie, _ = processes.start_registered(*QUICK, broken=broken)
    with gate(processes.dsn, 1) as opened, gate(processes.dsn, 2):
        job_id = enqueue(db, "linger", 1)
        wait_until(lambda: running_at_gate(db, 1))
        zombie.signal(signal.SIGSTOP)
        processes.start_registered(*QUICK)
        wait_until(lambda: running_at_gate(db, 2))
        opened()
        zombie.signal(signal.SIGCONT)
        wait_until(lambda: zombie.lines("lost its lease"))
        wait_until(lambda: handler_gone(db, zombie.pid) or state_of(db, job_id) == "completed")
        assert state_of(db, job_id) == ("completed" if broken else "running")
    wait_until(lambda: state_of(db, job_id) == "completed")
    assert found(processes.dsn) == caught


def handler_gone(db: Connection[Any], pid: int) -> bool:
    """Returns whether the handler in this process has ended."""
    row = db.execute("select exists (select from chk.ends where pid = %s)", [pid]).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize(("broken", "caught"), [("", set()), ("settle_without_fence", {"I19"})])
def test_the_checker_finds_a_broken_settle_after_a_rescue(
    recorded: str, db: Connection[Any], monkeypatch: pytest.MonkeyPatch, broken: str, caught: set[str]
) -> None:
    """The worker writes the outcome after a rescue has taken the job back."""
    use_broken(monkeypatch, broken)
    worker_id, lease_id, job_id = claimed(db)
    expire(db, worker_id)
    assert [job.id for job in run(db, statements.rescue(3, 10))] == [job_id]
    with psycopg.connect(recorded) as own:
        own.execute(workload.EFFECT.encode(), [1, job_id, lease_id])
        if run(own, statements.complete(worker_id, [(job_id, lease_id, True)])):
            own.commit()
        else:
            own.rollback()
    assert found(recorded) == caught


# ---------------------------------------------------------------- rescue: takes the jobs of a worker whose lease is valid


@pytest.mark.parametrize(("broken", "caught"), [("", set()), ("rescue_without_expiry", {"I11b"})])
def test_the_checker_finds_a_broken_rescue_of_a_living_worker(
    processes: WorkerProcesses, db: Connection[Any], broken: str, caught: set[str]
) -> None:
    """A worker runs a job for so long that the leader looks twice for jobs to rescue."""
    patient = (*QUICK, "--crash-limit", "100")
    processes.start_registered(*patient)
    with gate(processes.dsn, 1):
        job_id = enqueue(db, "hold_thread", 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        processes.start_registered(*patient, broken=broken)
        if broken:
            wait_until(lambda: lead(db) or rescued(db))
        else:
            wait_until(lambda: heartbeats(db) >= 3)
    wait_until(lambda: state_of(db, job_id) == "completed")
    assert found(processes.dsn) == caught


def lead(db: Connection[Any]) -> None:
    """Writes the youngest worker into the leader's row. This worker leads if it asks to lead before the former leader asks again."""
    db.execute(
        "update pgqueue.leader set worker_id = (select id from pgqueue.workers order by started_at desc limit 1)"
    )


def rescued(db: Connection[Any]) -> bool:
    return db.execute("select 1 from pgqueue.transitions where reason = 'rescued'").fetchone() is not None


def heartbeats(db: Connection[Any]) -> float:
    """Returns how many heartbeats, at one in 0.3 s, fit into the time from the start of the job to the last heartbeat."""
    row = db.execute(
        "select extract(epoch from max(w.heartbeat_at) - min(r.at))::float8 / 0.3 from pgqueue.workers w, chk.runs r"
    ).fetchone()
    return row[0] if row else 0.0


# ---------------------------------------------------------------- claim: two workers, one job


@pytest.mark.parametrize(
    ("broken", "caught"),
    [("", set()), ("claim_without_lock", {"I11", "I19"}), ("claim_of_running", {"I11", "I19"})],
)
def test_the_checker_finds_a_broken_claim_if_two_workers_claim_the_same_job(
    recorded: str,
    db: Connection[Any],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    caught: set[str],
) -> None:
    """The second claim begins before the first claim is committed."""
    use_broken(monkeypatch, broken)
    job_id = enqueue(db, "hold_thread", 1, effect=False, inside=False)
    workers = [register(db), register(db)]
    one, two = connect(autocommit=False), connect()
    first = run(one, claim(workers[0]))
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(run, two, claim(workers[1]))
        wait_until(lambda: later.done() or is_blocked(db, two))
        one.commit()
        second = later.result()
    if broken == "claim_of_running":
        second = run(two, claim(workers[1]))
    assert [row[0] for row in first] == [job_id]
    assert [row[0] for row in second] == ([job_id] if broken else [])
    assert found(recorded) == caught


def is_blocked(db: Connection[Any], other: Connection[Any]) -> bool:
    row = db.execute(
        "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", [other.info.backend_pid]
    ).fetchone()
    return bool(row and row[0])


def register(db: Connection[Any]) -> int:
    return run(
        db,
        statements.register_worker(
            host="here",
            pid=1,
            version="0",
            executor="async",
            slots=1,
            queues=["default"],
            tasks=[],
            lease_seconds=60,
        ),
    )


def claim(worker_id: int) -> Any:
    return statements.claim(worker_id, ["hold_thread"], [("default", 0)], [(0.0, 0)], 1)


def claimed(db: Connection[Any]) -> tuple[int, int, int]:
    """Lets a worker claim a job, and returns (worker id, lease_id, job id)."""
    job_id = enqueue(db, "hold_thread", 1, effect=False, inside=False)
    worker_id = register(db)
    [row] = run(db, claim(worker_id))
    assert row[0] == job_id
    return worker_id, row[1], job_id


def expire(db: Connection[Any], worker_id: int) -> None:
    db.execute(
        "update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s' where id = %s",
        [worker_id],
    )


# ---------------------------------------------------------------- every invariant can fail


def test_every_invariant_has_a_statement_that_breaks_it() -> None:
    """SABOTAGE contains a statement for each invariant."""
    numbers = {
        line.split("'")[1].split()[0]
        for line in checker.INVARIANTS.splitlines()
        if "select 'I" in line or "select 'D" in line
    }
    assert numbers == set(SABOTAGE)


@pytest.mark.parametrize("invariant", SABOTAGE)
def test_a_broken_invariant_is_found(recorded: str, db: Connection[Any], invariant: str) -> None:
    """First the database has jobs and a workflow, and no invariant is broken. Then the test breaks one invariant."""
    worker_id, lease_id, job_id = claimed(db)
    db.execute("update pgqueue.jobs_live set tags = '{effect}'")
    with psycopg.connect(recorded) as own:
        own.execute(workload.EFFECT.encode(), [1, job_id, lease_id])
        assert run(own, statements.complete(worker_id, [(job_id, lease_id, True)])) == [job_id]
    enqueue(db, "hold_thread", 2, effect=False, inside=False)
    assert len(run(db, claim(worker_id))) == 1
    enqueue(db, "hold_thread", 3, effect=False, inside=False)
    workflows.store(db, node("a"), node("b", "a"), group("g", "a", "b"), node("c", "g"))
    hand = Hand(db, ["t"])
    [first] = hand.claim()
    assert hand.settle(first, COMPLETED)
    checker.check(recorded)
    with psycopg.connect(recorded) as own:
        own.execute("set session_replication_role = replica")  # no trigger fires
        own.execute(SABOTAGE[invariant].encode())
    with pytest.raises(AssertionError, match=rf"{invariant} "):
        checker.check(recorded)


def test_only_the_last_outcome_that_a_client_has_noted_for_an_enqueue_is_loaded(
    recorded: str, tmp_path: Path
) -> None:
    with checker.Intents(tmp_path / "intents.jsonl") as intents:
        intents.note([1, 2], "unknown")
        intents.note([1], "ack")
        intents.load(recorded)
    with pytest.raises(AssertionError, match=r"I1 an acknowledged enqueue is lost: 1$"):
        checker.check(recorded)


def test_a_broken_invariant_is_reported_with_the_history_of_its_jobs(
    recorded: str, db: Connection[Any]
) -> None:
    """The effect is committed before the completion, as it would be on an autocommit connection."""
    worker_id, lease_id, job_id = claimed(db)
    db.execute(workload.EFFECT.encode(), [1, job_id, lease_id])
    assert run(db, statements.complete(worker_id, [(job_id, lease_id, True)])) == [job_id]
    with pytest.raises(
        AssertionError, match="I5 an effect was not committed together with the completion of its attempt: 1"
    ) as found:
        checker.check(recorded)
    _, head, row, *lines = str(found.value).splitlines()
    assert head == f"job {job_id}"
    assert "'state': 'completed'" in row
    expected_lines = [
        "none -> pending, lease 0 of worker , attempt 0, ",
        f"pending -> running, lease {lease_id} of worker {worker_id}, attempt 1, ",
        f"effect of op 1, lease {lease_id}, transaction ",
        f"running -> none, lease {lease_id} of worker {worker_id}, attempt 1, ",
        f"none -> completed, lease {lease_id} of worker {worker_id}, attempt 1, ",
    ]
    assert [part in line for part, line in zip(expected_lines, lines, strict=True)] == [True] * 5
