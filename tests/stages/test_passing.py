"""A claim stays quick even if there are many jobs that cannot run now. The tests count the buffers that the claim touches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.attempt import Attempt
from tests.factories import add_jobs, add_limit
from tests.schema.test_plans_large import explained
from tests.worker_by_hand import LimitedHand

BACKLOG = 20_000
MOST = 1_000  # a claim touches at most this many buffers, plus 30 for each job that it claims, however long the backlog is


@pytest.fixture
def player(db: Connection[Any]) -> LimitedHand:
    return LimitedHand(db, ["t", "u"])


def crowd(db: Connection[Any], key: str, **columns: Any) -> None:
    """Adds a backlog of jobs that have been due for long. In the table, their rows are not in the order in which they are due. So a claim that read them one by one would touch one buffer for each row."""
    given = {"task": "t", "concurrency_key": key, **columns}
    names, values = ", ".join(given), ", ".join(f"%({name})s" for name in given)
    text = (
        f"insert into pgqueue.jobs ({names}, run_at) select {values},"
        " now() - make_interval(secs => i * 7919 %% %(count)s) from generate_series(1, %(count)s) i"
    )
    db.execute(text.encode(), {**given, "count": BACKLOG})


def limit_of_a_task_and_key_is_used_up(db: Connection[Any], player: LimitedHand) -> None:
    add_limit(db, task="t", per_key=True, concurrency=1)
    crowd(db, "a")
    assert len(player.take(1)) == 1


def limit_of_a_task_is_used_up(db: Connection[Any], player: LimitedHand) -> None:
    add_limit(db, task="t", concurrency=1)
    crowd(db, "a")
    assert len(player.take(1)) == 1


def no_worker_has_the_task(db: Connection[Any], player: LimitedHand) -> None:
    crowd(db, "a", task="elsewhere")


def ordered_jobs_wait_for_a_running_one(db: Connection[Any], player: LimitedHand) -> None:
    crowd(db, "a", ordering="block")
    assert len(player.take(10)) == 1


def all_jobs_with_keys_are_scheduled(db: Connection[Any], player: LimitedHand) -> None:
    db.execute(
        "insert into pgqueue.jobs (task, concurrency_key, run_at)"
        " select 't', 'a' || i, now() + interval '1 h' from generate_series(1, %s) i",
        [BACKLOG],
    )


CASES = [
    limit_of_a_task_and_key_is_used_up, limit_of_a_task_is_used_up, no_worker_has_the_task, ordered_jobs_wait_for_a_running_one, all_jobs_with_keys_are_scheduled,
]  # fmt: skip


@pytest.mark.parametrize("analyzed", [False, True], ids=["never_analyzed", "analyzed"])
@pytest.mark.parametrize("backlog", CASES, ids=lambda case: case.__name__)
def test_a_claim_reads_only_few_rows_of_a_backlog_whose_jobs_cannot_run(
    db: Connection[Any],
    player: LimitedHand,
    backlog: Callable[[Connection[Any], LimitedHand], None],
    analyzed: bool,
) -> None:
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    backlog(db, player)
    others = [job_id for key in "bcdef" for job_id in add_jobs(db, key, task="u", count=10)]
    if analyzed:
        db.execute("analyze pgqueue.jobs_live")
    lane = (player.queue, 0)
    for count in (10, 100):  # a claim of fewer jobs than can run, and a claim of more jobs than can run
        claim = statements.claim_limited(player.id, player.tasks, lane, "", count)
        for _ in range(2):  # twice: the first call of a session also reads the catalog
            plan = explained(db, claim, "analyze, buffers, timing off")
        assert plan["Actual Rows"] == min(count, len(others))
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= MOST + 30 * plan["Actual Rows"]
    assert {attempt.id for attempt in player.take(100)} == set(others)
    assert player.take(100) == []


def scans(db: Connection[Any]) -> int:
    """Returns the number of index scans of jobs_live that this session has made since it last sent its counters to the server's statistics."""
    [(count,)] = db.execute(
        "select sum(idx_scan)::int from pg_stat_xact_user_tables where relname = 'jobs_live'"
    ).fetchall()
    return int(count)


@pytest.mark.parametrize("after", ["", "a5", "zz"])
def test_a_claim_passes_over_the_keys_of_an_unknown_task_within_the_index(
    db: Connection[Any], player: LimitedHand, after: str
) -> None:
    """The claim reads only a few of the keys one by one, however many keys there are, and whichever key had the last turn."""
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    db.execute(
        "insert into pgqueue.jobs (task, concurrency_key) select 'elsewhere', 'a' || i from generate_series(1, %s) i",
        [BACKLOG],
    )
    found = {job_id for key in ("a10000x", "a7", "b", "Z") for job_id in add_jobs(db, key, count=2)}
    claim = statements.claim_limited(player.id, player.tasks, (player.queue, 0), after, 8)
    with db.transaction():  # the counter can still contain scans of former statements
        before = scans(db)
        rows = run(db, claim).rows
        made = scans(db) - before
    assert {row[0] for row in rows} == found
    assert made < 500


def test_a_survey_returns_when_the_next_job_is_due_if_all_jobs_with_keys_are_scheduled(
    db: Connection[Any], player: LimitedHand
) -> None:
    all_jobs_with_keys_are_scheduled(db, player)
    there = run(db, statements.survey_lanes([], [], []))
    assert not there.in_turns
    assert there.later is not None
    assert 3500 < there.later <= 3600
    add_jobs(db, "b")
    assert list(run(db, statements.survey_lanes([], [], [])).in_turns) == [(player.queue, 0)]


def test_jobs_of_one_key_but_different_tasks_run_in_the_order_in_which_they_are_due(
    db: Connection[Any], player: LimitedHand
) -> None:
    made = [add_jobs(db, "a", task="ut"[n % 2])[0] for n in range(20)]
    unknown = add_jobs(db, "a", task="elsewhere", count=3)
    assert [attempt.id for _ in range(5) for attempt in player.take(1)] == made[:5]
    assert [attempt.id for attempt in player.take(7)] == made[5:12]
    add_limit(db, task="u", per_key=True, concurrency=1)
    [held] = [attempt for attempt in player.take(1) if attempt.task == "u"]
    assert held.id == made[12]
    found = player.take(100)
    assert [attempt.id for attempt in found] == made[13::2], "the jobs of the other task are still claimed"
    player.complete(held)
    assert [attempt.id for attempt in player.take(100)] == made[14:15]
    assert not set(unknown) & {attempt.id for attempt in player.take(100)}


def test_jobs_without_ordering_run_beside_jobs_with_ordering_of_the_same_key(
    db: Connection[Any], player: LimitedHand
) -> None:
    kept = [*add_jobs(db, "a", ordering="block"), *add_jobs(db, "a", task="u", ordering="skip", count=2)]
    free = add_jobs(db, "a", count=3)
    first = player.take(100)
    assert {attempt.id for attempt in first} == {kept[0], *free}
    player.complete(*first)
    [second] = player.take(100)
    assert second.id == kept[1]
    assert player.take(100) == []


def session_with_a_snapshot(db: Connection[Any]) -> psycopg.Connection[Any]:
    """Opens a session that holds a snapshot. Until it ends, vacuum removes neither rows that are deleted meanwhile nor their index entries."""
    other = psycopg.connect(db.info.dsn)
    other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    other.execute("select 1")
    return other


def test_an_old_snapshot_does_not_slow_claims_by_turns_that_skip_the_claimed_part_of_a_lane(
    db: Connection[Any], player: LimitedHand
) -> None:
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    lane = (player.queue, 0)
    for _ in range(20):
        db.execute(
            "insert into pgqueue.jobs (task, concurrency_key) select 't', 'a' || i % 10 from generate_series(1, 500) i"
        )
    with session_with_a_snapshot(db):
        since = None
        while True:
            found = run(db, statements.claim_limited(player.id, player.tasks, lane, "", 500, since))
            if not found.rows:
                break
            player.complete(*(Attempt(player.id, row) for row in found.rows))
            since = found.front
        made = {job_id for key in ("a1", "a2") for job_id in add_jobs(db, key, count=5)}
        claim = statements.claim_limited(player.id, player.tasks, lane, "", 10, since)
        plan = explained(db, claim, "analyze, buffers, timing off")
        assert plan["Actual Rows"] == 10
        # The buffers above MOST are for the dead index entries that the last claim left.
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= MOST + 500
        assert {row[0] for row in run(db, claim).rows} == made


def test_the_next_survey_finds_a_job_that_was_committed_late_at_an_earlier_position(
    db: Connection[Any], player: LimitedHand
) -> None:
    with psycopg.connect(db.info.dsn) as late:
        [job_id] = add_jobs(late, "a")
        others = add_jobs(db, "b", count=3)
        lane = (player.queue, 0)
        first = run(db, statements.claim_limited(player.id, player.tasks, lane, "", 1))
        assert [row[0] for row in first.rows] == others[:1]
    assert run(db, statements.survey_lanes([], [], [])).in_turns[lane].endswith(f"/{job_id}")
    behind = run(db, statements.claim_limited(player.id, player.tasks, lane, "", 10, first.front))
    assert {row[0] for row in behind.rows} == set(others[1:])
    since = run(db, statements.survey_lanes([], [], [])).in_turns[lane]
    [row] = run(db, statements.claim_limited(player.id, player.tasks, lane, "", 10, since)).rows
    assert row[0] == job_id
