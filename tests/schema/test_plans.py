"""Every statement file can be planned against the migrated schema.

The hot statements, which workers run all the time, use their index whatever statistics the planner has.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import PINNED
from pgqueue.database.statements.enqueuing import Reserved
from pgqueue.database.statements.workflows import StoredWorkflow
from pgqueue.model.alert import Cause
from pgqueue.model.new_job import Batch
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.schedule import Schedule
from pgqueue.model.steps import Checkpoint, TakeSignal
from pgqueue.model.suspension import Request
from pgqueue.sql import Statement, names

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANN = statements.Who("ann", "cli")
NIGHTLY = Schedule(name="nightly", task="a", cron="0 2 * * *")
SAMPLES: dict[str, Statement[Any]] = {
    statement.name: statement
    for statement in (
        statements.act("edit", [1, 2], ANN, changes={"priority": 1}, states=["pending"]),
        statements.begin_operation("retry", {"queue": "q"}, None, ANN),
        statements.choose_by_id([1, 2]),
        statements.choose_jobs(statements.JobFilter(queue="q"), before=None, count=10),
        statements.end_operation(1, ANN),
        statements.list_dead_of_error("0123456789abcdef"),
        statements.list_errors(),
        statements.list_failures("0123456789abcdef"),
        statements.list_audit(job_id=1, actor="ann"),
        statements.list_audited_jobs(1),
        statements.list_undoable(1),
        statements.preview_action("retry", statements.JobFilter(queue="q"), [1, 2]),
        statements.purge_audit(86_400, 100),
        statements.undo(1, ANN),
        statements.list_events(0.0, 0),
        statements.note_import([1, 2], 3, ANN),
        statements.find_their_tables("pgqueuer"),
        statements.set_attempts([1, 2], [3, 4]),
        statements.list_adopted("procrastinate", "public.procrastinate_jobs", 0, 10),
        statements.add_partitions(1),
        statements.add_schedule(NIGHTLY),
        statements.adopt_orphans(),
        statements.end_lease(1, 1),
        statements.make_dead(1, 1, "its arguments are too long"),
        statements.cancel(1),
        statements.check_indexes(64 << 20),
        statements.check_partitions(),
        statements.claim(1, ["a", "b"], [("default", 0), ("default", 5)], [(0.0, 0), (1.8e9, 7)], 10),
        statements.complete(1, [(1, 1, True), (2, 1, False)]),
        statements.complete_nodes(1, [(1, 1, True, None), (2, 1, False, '{"a": [1]}')]),
        statements.compare_ids(),
        statements.copy_jobs(),
        statements.count_jobs(statements.JobFilter(tag="a", args="{}"), ["task", "tag"]),
        statements.count_unclaimed(["default"], ["a"]),
        statements.describe_server(),
        statements.discover_queues(),
        statements.drop_partitions(),
        statements.edit(1, {"priority": 1}),
        statements.find_due_schedules(None, False, 100),
        statements.edit_schedule(NIGHTLY),
        statements.find_committed([(1, 1), (2, 1)]),
        statements.finish_workflow(0, 0, 100),
        statements.leave_parents(0, 100),
        statements.find_left_work(),
        statements.adopt_children(1, 1),
        statements.enqueue_workflow('{"name": "a", "nodes": []}'),
        statements.find_stored_workflow(StoredWorkflow(1, True, [], "3", datetime(2026, 1, 1, tzinfo=UTC))),
        statements.get_workflow(1),
        statements.list_workflows(),
        statements.list_nodes(1),
        statements.find_node(1, "a"),
        statements.list_awaited(1),
        statements.read_ends([1, 2]),
        statements.list_ends(1, after=None, count=100),
        statements.cancel_workflow(1),
        statements.retry_workflow(1, "a"),
        statements.choose_unresolved(100),
        statements.resolve_again([1, 2]),
        statements.put_off_unresolved(1, "no"),
        statements.find_stopping(0),
        statements.find_jobless((0, 0), 100),
        statements.mend_nodes((0, 0), 100),
        statements.find_halted_nodes(),
        statements.purge_workflows(100),
        statements.enqueue_batch({"name": "import"}),
        statements.open_parts(1, 1, None),
        statements.copy_nodes(),
        statements.add_to_batch(1, [Batch("a", ["{}"])], None),
        statements.seal_batch(1),
        statements.get_batch(1),
        statements.list_batches(name="import", state="open", before=None, count=10),
        statements.count_members(1),
        statements.list_follow_ups(1),
        statements.abandon_batch(1),
        statements.retry_members(1, 0, 100),
        statements.find_lost_attempts(1, [(1, 1), (2, 1)]),
        statements.elect(1, 15.0),
        statements.enqueue_many([Batch("a", ["{}"])]),
        statements.fire_schedules([]),
        statements.list_function_bodies(),
        statements.get_job(1),
        statements.get_secrets(1),
        statements.add_job_lines([(1, 1, 1.0, "INFO", "shop", "text")]),
        statements.list_job_lines(1),
        statements.purge_job_lines(0, 100),
        statements.get_ended([1, 2], [2]),
        statements.get_task(1),
        statements.get_replayed(1),
        statements.list_writes(100, 20),
        statements.refuse_commit(1, "key"),
        statements.why(1),
        statements.why_shown(1),
        statements.claim_limited(1, ["t"], ("q", 0), "", 5),
        statements.recount_seats(),
        statements.set_limit(
            queue="q",
            task=None,
            per_key=True,
            key=None,
            concurrency=1,
            rate=None,
            period=None,
            sliding=False,
            burst=None,
            share=None,
        ),
        statements.list_limits(),
        statements.list_seats(1),
        statements.list_holders(1),
        statements.list_waiting(1),
        statements.count_queues(),
        statements.count_ended(),
        statements.list_together(1),
        statements.measure_tables(),
        statements.remove_limit(1),
        statements.heartbeat(1, 30.0, "running"),
        statements.ask_workers("quiet", [1], who=ANN),
        statements.list_worker_requests(1),
        statements.answer_request(1, 1, "a"),
        statements.read_answers([1]),
        statements.purge_requests(100),
        statements.find_lost_claims(1, [2, 3]),
        statements.choose_lost_claims(1, [2, 3]),
        statements.lock_running_job(1, 2, 3),
        statements.insert_job("a", "{}", {}),
        statements.insert_unique("a", "{}", {"unique": ["n"], "unique_for": 60.0}),
        statements.measure_index("jobs_live_claim_idx"),
        statements.list_timeline(1),
        statements.survey_lanes(
            [("default", 0), ("default", 1), ("mail", 0), ("mail", 2)],
            [(0.0, 0)] * 4,
            [("default", 1, 9), ("mail", -9, 0), ("mail", 0, 2)],
        ),
        statements.list_alerts(True),
        statements.list_cancel_requests(1),
        statements.list_over_age_tables(),
        statements.list_obstacles(),
        statements.list_living_workers(),
        statements.list_lockers(),
        statements.before_commit(),
        statements.find_blockers(10.0),
        statements.list_jobs(),
        statements.list_job_rows(),
        statements.list_lockers(),
        statements.list_queues(),
        statements.count_dead(),
        statements.measure_system(),
        statements.list_schedules(),
        statements.list_transitions(1),
        statements.list_workers(True),
        statements.find_locked([1, 2]),
        statements.choose_rescues(100),
        statements.choose_overdue(100),
        statements.list_schedule_versions(),
        statements.mark_busy(["default"], 2.0),
        statements.mark_waited(3.0),
        statements.read_clock(),
        statements.measure_storage(),
        statements.match_queues(["m*"]),
        statements.note_blocked(1, 3.0, [1]),
        statements.note_problem(1, "1", "it is bad"),
        statements.find_old_snapshots(),
        statements.mute_alert(1, 60.0),
        statements.list_open_writers(),
        statements.pause_queue("default"),
        statements.pause_schedule("nightly", True),
        statements.purge(100),
        statements.check_fence(),
        statements.check_deferred(),
        statements.forget_step(1, "a", ""),
        statements.purge_checkpoints(0, 100),
        statements.purge_signals(0, 100),
        statements.find_late_waits(),
        statements.find_wait(1, "approved", "k"),
        statements.signal(1, "approved", "{}", "k", "ann"),
        statements.suspend(1, [(1, 1, Outcome.suspended((Request("sleep", "a", "", 1.0),)))]),
        statements.take_signals([(1, 1, 1, TakeSignal("wait:a", "", ("a",)))]),
        statements.time_out_waits(100),
        statements.choose_timed_out(100),
        statements.load_ahead([1, 2]),
        statements.load_checkpoints([1, 2]),
        statements.store_checkpoint(1, 1, 1, Checkpoint("step", "a", "", 1, "{}")),
        statements.store_checkpoints([(1, 1, 1, Checkpoint("step", "a", "", 1, "{}"))]),
        statements.store_effect(1, 1, 1, Checkpoint("effect", "a", "", 1, "{}")),
        statements.save_cursor(1, 1, 1, "7"),
        statements.purge_jobs("jobs_done_default", 0, 500),
        statements.purge_runs(100),
        statements.raise_alerts([Cause("late", "mail", "late")], ["a"], calm=15.0, remind=None),
        statements.register_worker(
            host="h",
            pid=1,
            version="0",
            executor="async",
            slots=1,
            queues=["default"],
            tasks=["a"],
            lease_seconds=30.0,
        ),
        statements.write_progress(1, [(1, 1, Progress(1)), (2, 1, Progress(3, 10, "on"))]),
        statements.remove_bench("bench", 1, 1000),
        statements.remove_queue("default"),
        statements.remove_schedule("nightly"),
        statements.rescue(3, 100),
        statements.reserve_ids(3),
        statements.find_copied(Reserved(range(1, 4), datetime.now(UTC), "3")),
        statements.resolve_alert(1),
        statements.resume_queue("default"),
        statements.revive(1),
        statements.run_schedule("nightly"),
        statements.read_schema_version(),
        statements.read_settings(),
        statements.restore_settings(("public", "0")),
        statements.settle(1, [(1, 1, COMPLETED), (2, 1, Outcome.snoozed(1.0))]),
        statements.stop_worker(1),
        statements.finish_overdue(100),
        statements.sync_schedules("app", "f", [NIGHTLY], 60.0, ["t"], named=False),
        statements.sync_tasks("shop", [{"name": "t", "options": {}, "keep": "all"}], 60.0),
        statements.list_tasks(),
        statements.list_shared_names(),
        statements.find_unserved(),
        statements.wake(["default"]),
        statements.add_stats([{"at": 60, "queue": "default", "task": "a", "started": 1}]),
        statements.roll_up_stats(86400.0, 1000),
        statements.roll_up_totals(60, 900, 7200.0, 1000),
        statements.purge_stats(86400.0, 1000),
        statements.list_stats(NOON, NOON, 60, by=["queue"]),
        statements.sum_stats(NOON, NOON, by=["task"]),
        statements.estimate_drain(),
        statements.count_live(),
        statements.watch_dead(),
        statements.write_little(),
        statements.watch_queues(),
    )
}

# The plan of each hot statement must contain these indexes and kinds of scans.
HOT = {
    "claim": {"jobs_live_claim_idx", "Tid Scan"},
    "survey_lanes": {"jobs_live_claim_idx"},
    "complete": {"jobs_live_id_key"},
    "complete_nodes": {"jobs_live_id_key"},
    "settle": {"jobs_live_id_key"},
    "rescue": {"jobs_live_worker_idx", "Tid Scan"},
    "heartbeat": {"workers_pkey", "worker_requests_worker_id_idx"},
    "list_worker_requests": {"worker_requests_worker_id_idx"},
    "find_lost_attempts": {"jobs_live_id_key"},
    "find_locked": {"jobs_live_id_key"},
    "find_lost_claims": {"jobs_live_worker_idx"},
    "choose_lost_claims": {"jobs_live_worker_idx"},
    "choose_rescues": {"jobs_live_worker_idx"},
    "choose_overdue": {"jobs_live_overdue_idx", "jobs_live_cancel_idx"},
    "list_cancel_requests": {"jobs_live_cancel_idx"},
    "write_progress": {"jobs_live_id_key"},
    "time_out_waits": {"jobs_live_timer_idx", "Tid Scan"},
    "choose_timed_out": {"jobs_live_timer_idx"},
    "store_checkpoint": {"jobs_live_id_key"},
    "store_checkpoints": {"jobs_live_id_key", "hashed SubPlan"},
    "load_ahead": {"checkpoints_default_pkey"},
    "load_checkpoints": {"checkpoints_default_pkey"},
    "finish_overdue": {"jobs_live_overdue_idx", "jobs_live_cancel_idx"},
    "watch_dead": {"jobs_dead_task_idx"},
    "watch_queues": {"jobs_live_claim_idx"},
}


def plan(connection: Connection[Any], statement: Statement[Any]) -> str:
    rows = connection.execute("explain " + statement.text, statement.parameters).fetchall()  # type: ignore[arg-type]
    return "\n".join(row[0] for row in rows)


def fill(connection: Connection[Any], count: int) -> None:
    """Stores pending jobs in two queues, and a few running jobs."""
    connection.execute(
        "insert into pgqueue.jobs_live (task, queue, priority, run_at, state, worker_id)"
        " select 'a', (array['default', 'mail'])[1 + i %% 2], i %% 3, now() - make_interval(secs => i),"
        " case when i %% 100 = 0 then 'running' else 'pending' end, case when i %% 100 = 0 then 1 end"
        " from generate_series(1, %s) i",
        [count],
    )


def test_every_statement_file_has_a_sample_here() -> None:
    assert sorted(SAMPLES) == names()


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"copy_jobs", "copy_nodes"}))  # COPY has no plan
def test_every_statement_can_be_planned(db: Connection[Any], name: str) -> None:
    assert plan(db, SAMPLES[name])


@pytest.mark.parametrize("statistics", ["never", "of an empty table", "fresh"])
def test_hot_statements_use_their_index_and_never_read_the_whole_table(
    db: Connection[Any], statistics: str
) -> None:
    if statistics == "of an empty table":
        db.execute("vacuum analyze pgqueue.jobs_live")
    fill(db, 20_000)
    if statistics == "fresh":
        db.execute("vacuum analyze pgqueue.jobs_live")
    db.execute(PINNED)
    for name, indexes in HOT.items():
        shown = plan(db, SAMPLES[name])
        for index in indexes:
            assert index in shown, f"{name} under statistics {statistics}:\n{shown}"
        assert not re.search(r"Seq Scan on jobs_live", shown), (
            f"{name} under statistics {statistics}:\n{shown}"
        )


def test_the_statements_of_statistics_find_their_rows_by_the_index(db: Connection[Any]) -> None:
    db.execute(
        "insert into pgqueue.stats (at, queue, task, seconds)"
        " select now() - make_interval(mins => i), 'q' || j, 't', case when i < 1440 then 60 else 3600 end"
        " from generate_series(1, 2000) i, generate_series(1, 20) j"
    )
    db.execute("vacuum analyze pgqueue.stats")
    now = datetime.now(UTC)
    hour = now - timedelta(hours=1)
    for statement in (
        statements.sum_stats(hour, now, by=["queue"]),
        statements.list_stats(hour, now, 60),
        statements.roll_up_stats(86_400, 1000),
        statements.purge_stats(90 * 86_400, 1000),
        statements.estimate_drain(),
    ):
        shown = plan(db, statement)
        assert "stats_pkey" in shown or "stats_totals_pkey" in shown, shown
        assert "Seq Scan on stats " not in shown, shown
