"""Cancels, expiries, deadlines and progress with two worker processes.

Cancels and deadlines take effect within about a second. No combination of cancel, expiry and deadline leaves a job unfinished.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue import App
from tests.apps import slow_tasks
from tests.process.worker_processes import QUICK, WorkerProcesses, state_of, unfinished
from tests.waiting import STARTS, wait_until

EXECUTORS = ["async", "thread", "process"]
EACH = 4  # each executor gets this many jobs


def enqueue(dsn: str, task: Any, many: list[dict[str, Any]], **options: Any) -> list[int]:
    app = App(dsn)
    try:
        jobs = [task.using(**options).job(**args) for args in many]
        return [handle.id for handle in app.enqueue_many(jobs)]
    finally:
        app.close()


def rows(db: Connection[Any], sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    return db.execute(sql.encode(), parameters).fetchall()


def start_two(workers: WorkerProcesses, db: Connection[Any], mode: str) -> None:
    """Starts two worker processes. Between two heartbeats, 5 s pass, so a cancel that only a heartbeat reports would come too late."""
    options = (*slow_tasks.APP, "-c", str(2 * EACH), "--poll", "0.2")
    if mode == "supervised":
        workers.start(*options, "--processes", "2")
    else:
        for _ in range(2):
            workers.start(*options, *(("--no-listen",) if mode == "no_listen" else ()))
    wait_until(
        lambda: rows(db, "select count(*) from pgqueue.workers where state = 'running'") == [(2,)], STARTS
    )
    if mode != "no_listen":
        listening = "select count(*) from pg_stat_activity where application_name = 'pgqueue listen' and query ~ 'pg_notify'"
        wait_until(
            lambda: (
                rows(db, f"{listening} and datname = current_database()")[0][0] == 2 - (mode == "supervised")
            )
        )


@pytest.mark.parametrize("mode", ["listen", "no_listen", "supervised"])
def test_a_running_job_is_cancelled_within_a_second_in_every_executor(
    workers: WorkerProcesses, db: Connection[Any], mode: str
) -> None:
    start_two(workers, db, mode)
    jobs = {
        job: executor
        for executor, task in slow_tasks.SLEEPS.items()
        for job in enqueue(workers.dsn, task, [{}] * EACH)
    }
    wait_until(lambda: rows(db, "select count(*) from pgqueue.running") == [(len(jobs),)])
    assert len(rows(db, "select distinct worker_id from pgqueue.running")) == 2
    asked = {}
    for job in jobs:
        [(said, at)] = rows(db, "select pgqueue.cancel(%s), clock_timestamp()", job)
        assert said == "requested"
        asked[job] = at
    wait_until(lambda: not unfinished(db))
    took: dict[str, list[float]] = {executor: [] for executor in EXECUTORS}
    for job, state, finished_at in rows(db, "select id, state, finished_at from pgqueue.jobs"):
        assert state == "cancelled"
        took[jobs[job]].append((finished_at - asked[job]).total_seconds())
    print(
        f"{mode}: cancelled after at most",
        {executor: f"{max(all_):.3f} s" for executor, all_ in took.items()},
    )
    assert all(len(all_) == EACH and max(all_) < 1.0 for all_ in took.values())


def test_a_job_that_is_cancelled_at_the_moment_of_its_claim_ends_within_a_second(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    """The report of the cancel can reach the worker before the answer to its claim does, or before the job has a slot."""
    start_two(workers, db, "listen")
    for _ in range(30):
        [job] = enqueue(workers.dsn, slow_tasks.sleep_async, [{}])
        wait_until(lambda job=job: state_of(db, job) == "running")  # type: ignore[misc]
        begun = time.monotonic()
        assert rows(db, "select pgqueue.cancel(%s)", job) == [("requested",)]
        wait_until(lambda job=job: state_of(db, job) == "cancelled")  # type: ignore[misc]
        assert time.monotonic() - begun < 1.0


def test_a_running_attempt_is_stopped_at_the_deadline(workers: WorkerProcesses, db: Connection[Any]) -> None:
    start_two(workers, db, "listen")
    for task in slow_tasks.SLEEPS.values():
        enqueue(workers.dsn, task, [{}] * 3, deadline=6)  # so late that every process has started
    wait_until(lambda: not unfinished(db))
    found = rows(
        db,
        "select state, attempt, last_error, extract(epoch from finished_at - deadline_at)::float8 from pgqueue.jobs",
    )
    assert {row[:3] for row in found} == {
        ("dead", 1, "DeadlineExceededError: PGQ-605  Its deadline passed while it ran.")
    }
    assert len(found) == 9
    assert all(0 <= row[3] < 1 for row in found)
    assert rows(db, "select distinct reason from pgqueue.dead_letters") == [("deadline_exceeded",)]


def test_jobs_of_a_queue_without_a_worker_end_at_their_expiry_or_deadline(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    start_two(workers, db, "no_listen")
    wait_until(lambda: rows(db, "select 1 from pgqueue.leader"))
    for _ in range(5):
        for option in ("expires", "deadline"):
            options = f'{{"queue": "none", "{option}": 0.1}}'
            db.execute("select pgqueue.enqueue('nobody', '{}', %s::jsonb)", [options])
        threading.Event().wait(0.4)
    wait_until(lambda: not unfinished(db))
    found = rows(
        db,
        "select state, expires_at is not null, extract(epoch from finished_at - coalesce(expires_at, deadline_at))::float8"
        " from pgqueue.jobs",
    )
    assert sorted(row[:2] for row in found) == [("cancelled", True)] * 5 + [("dead", False)] * 5
    assert all(0 <= late < 2.2 for *_, late in found)


# ---------------------------------------------------------------- random combinations at random moments

MOMENT = st.none() | st.floats(0, 2)
JOB = st.fixed_dictionaries(
    {
        "executor": st.sampled_from([*EXECUTORS[:2] * 3, "process"]), "ms": st.integers(0, 1500), "fails": st.booleans(),
        "delay": st.floats(0, 1), "expires": MOMENT, "deadline": MOMENT, "cancel": st.none() | st.floats(0, 2),
    }
)  # fmt: skip


def play(db: Connection[Any], dsn: str, plan: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Enqueues the jobs of the plan, and cancels some of them, each at the moment that the plan contains.

    Returns the items of the plan by job id. An item whose job was cancelled also has the answer to the cancel, and the time of the answer.
    """
    app = App(dsn)
    new = [
        slow_tasks.TAKES[item["executor"]]
        .using(**{name: item[name] for name in ("delay", "expires", "deadline") if item[name] is not None})
        .job(n=n, ms=item["ms"], fails=item["fails"])
        for n, item in enumerate(plan)
    ]
    jobs = {handle.id: dict(item) for handle, item in zip(app.enqueue_many(new), plan, strict=True)}
    app.close()
    begun = time.monotonic()
    for at, job in sorted((item["cancel"], job) for job, item in jobs.items() if item["cancel"] is not None):
        threading.Event().wait(max(begun + at - time.monotonic(), 0))
        [(said, asked_at)] = rows(db, "select pgqueue.cancel(%s), clock_timestamp()", job)
        jobs[job] |= {"said": said, "asked_at": asked_at}
    return jobs


STORY = """
select j.id, j.state, j.attempt, j.finished_at, j.expires_at, j.deadline_at,
       (select t.reason from pgqueue.transitions t where t.job_id = j.id order by t.at desc limit 1),
       (select min(r.at) from chk.runs r where r.job_id = j.id),
       (select max(r.at) from chk.runs r where r.job_id = j.id),
       exists (select from pgqueue.transitions t where t.job_id = j.id and t.to_state = 'retrying'),
       (select max(e.at) from chk.events e where e.job_id = j.id and e.old_state = 'running')
from pgqueue.jobs j where j.id = any(%s)
"""
SLACK = 0.1  # an attempt is allowed to begin this many seconds late: all times come from one clock, but a claim takes some time


def seconds(later: Any, earlier: Any) -> float:
    return float((later - earlier).total_seconds())


def judge(db: Connection[Any], jobs: dict[int, dict[str, Any]]) -> None:
    for job, state, attempt, end, expires, deadline, reason, first, last, retried, ended in rows(
        db, STORY, list(jobs)
    ):
        item = {**jobs[job], "job": job, "state": state, "reason": reason}
        assert state in ("completed", "cancelled", "dead"), item
        if expires is not None and not retried:
            assert first is None or seconds(first, expires) < SLACK, f"started after its expiry: {item}"
        if reason == "expired":
            assert (state, first) == ("cancelled", None), item
            assert seconds(end, expires) >= 0, item
        if deadline is not None:
            assert last is None or seconds(last, deadline) < SLACK, (
                f"an attempt began after the deadline: {item}"
            )
            # If the handler was never called, the attempt ends only when its child process answers. This process is perhaps still starting.
            late = 1.0 if first is not None else 5.0
            assert ended is None or seconds(ended, deadline) < late, f"it ran past its deadline: {item}"
        if reason == "deadline_exceeded":
            assert state == "dead", item
        if item.get("said") == "cancelled":
            assert state == "cancelled", item
            assert reason in ("cancelled", "expired"), item
        if state == "completed":
            assert not item["fails"], item
        if state == "dead" and reason != "deadline_exceeded":
            assert (reason, attempt) == ("attempts_exhausted", 4), item


def test_no_expiry_deadline_or_cancel_makes_a_job_start_too_late_run_too_long_or_stay_unfinished(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    for _ in range(2):
        workers.start(*slow_tasks.APP, *QUICK, "-c", "6")
    wait_until(
        lambda: rows(db, "select count(*) from pgqueue.workers where state = 'running'") == [(2,)], STARTS
    )
    ends: dict[str, int] = {}

    @settings(
        max_examples=2,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(JOB, min_size=20, max_size=40))
    def hold(plan: list[dict[str, Any]]) -> None:
        jobs = play(db, workers.dsn, plan)
        wait_until(lambda: not unfinished(db), timeout=30)
        judge(db, jobs)
        for (reason,) in rows(
            db, "select coalesce((select t.reason from pgqueue.transitions t where t.job_id = j.id"
            " and t.to_state = j.state), j.state) from pgqueue.jobs j where j.id = any(%s)", list(jobs)
        ):  # fmt: skip
            ends[reason] = ends.get(reason, 0) + 1

    hold()
    print("ends:", ends)
    assert rows(db, "select count(distinct worker_id) from pgqueue.jobs") == [(2,)]


# ---------------------------------------------------------------- progress

WRITES = """
create table chk.progress (job_id bigint, at timestamptz default clock_timestamp(), progress jsonb);
create function chk.note_progress() returns trigger language plpgsql as $$
begin
    insert into chk.progress (job_id, progress) values (new.id, new.progress);
    return null;
end $$;
create trigger chk_note_progress after update on pgqueue.jobs_live for each row
    when (new.progress is distinct from old.progress) execute function chk.note_progress()
"""


def progress(db: Connection[Any], job: int) -> Any:
    [(stored,)] = rows(db, "select progress from pgqueue.jobs where id = %s", job)
    return stored and (stored["done"], stored["total"], stored["message"])


def test_progress_is_visible_while_a_job_runs_and_is_kept_when_an_attempt_fails(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    start_two(workers, db, "listen")
    db.execute("select pg_advisory_lock(7)")
    jobs = [job for task in slow_tasks.COUNTS.values() for job in enqueue(workers.dsn, task, [{"n": 7}] * 2)]
    wait_until(lambda: all(progress(db, job) == (3, 10, "on the way") for job in jobs))
    assert {state_of(db, job) for job in jobs} == {"running"}
    db.execute("select pg_advisory_unlock_all()")
    wait_until(lambda: not unfinished(db))
    for job in jobs:
        assert progress(db, job) == (10, 10, "again")
        [(state, before, attempt)] = rows(
            db, "select state, result, attempt from pgqueue.jobs where id = %s", job
        )
        assert (state, before["done"], before["total"], attempt) == ("completed", 5, 10, 2)


def test_progress_is_kept_when_the_worker_is_killed(workers: WorkerProcesses, db: Connection[Any]) -> None:
    victim, _ = workers.start_registered(*slow_tasks.APP, *QUICK)
    db.execute("select pg_advisory_lock(7)")
    [job] = enqueue(workers.dsn, slow_tasks.count_async, [{"n": 7}])
    wait_until(lambda: progress(db, job) == (3, 10, "on the way"))
    victim.end()
    workers.start(*slow_tasks.APP, *QUICK)
    wait_until(lambda: state_of(db, job) == "completed")
    [(before,)] = rows(db, "select result from pgqueue.jobs where id = %s", job)
    assert before["done"] == 3
    db.execute("select pg_advisory_unlock_all()")


def test_progress_is_written_once_a_second_if_a_handler_reports_it_more_often(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    db.execute(WRITES.encode())
    start_two(workers, db, "listen")
    jobs = [
        job
        for task in (slow_tasks.chatter_thread, slow_tasks.chatter_process)
        for job in enqueue(workers.dsn, task, [{"ms": 3500}] * 3)
    ]
    wait_until(lambda: not unfinished(db))
    for job in jobs:
        [(said, last)] = rows(
            db, "select result::int, (progress ->> 'done')::int from pgqueue.jobs where id = %s", job
        )
        assert said == last
        assert said > 100
        written = rows(db, "select count(*) from chk.progress where job_id = %s", job)[0][0]
        assert 2 <= written <= 5
    [(gap,)] = rows(
        db,
        "select min(extract(epoch from gap))::float8 from (select at - lag(at) over (partition by job_id order by at) as gap"
        " from chk.progress) g",
    )
    assert gap > 0.9
