"""Schedules in the database: each fire time enqueues one job, whichever scheduler computes it and whatever is edited meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.schedules import DueSchedule
from pgqueue.model.schedule import Plan
from tests.schedules_by_hand import HOUR, MINUTE, NOON, add, finish, jobs, overview, play, runs
from tests.unit.test_firetimes import YEAR, ZONES, changes, expression, walk
from tests.worker_by_hand import Hand


def test_every_fire_time_of_a_simulated_year_in_five_zones_enqueues_one_job(
    db: Connection[Any], dsn: str
) -> None:
    """Three schedulers work at random moments: some days apart, and every two hours around each change of the clocks."""
    start, end = YEAR
    texts = {"daily": "30 2 * * *", "midnight": "0 0 * * *", "interval": "30 */12 * * *"}
    for name in ZONES:
        for kind, text in texts.items():
            add(
                db, f"{kind}-{name.split('/')[1]}", cron=text, tz=name, edited_at=start, overlap="allow", missed="all",
                missed_cap=1000,
            )  # fmt: skip
    chance = random.Random(7)
    moments = {end} | {start + timedelta(days=8 * n, seconds=chance.uniform(0, 600_000)) for n in range(46)}
    for change in (change for name in ZONES for change in changes(name) if start < change < end):
        moments |= {change + n * HOUR + timedelta(seconds=chance.uniform(0, 600)) for n in range(-4, 5, 2)}
    play(dsn, sorted(moment for moment in moments if moment <= end), count=3, grace=1_800_000)

    found: dict[str, list[datetime]] = {}
    rows = db.execute(
        "select meta ->> 'schedule', (meta ->> 'fire_at')::timestamptz from pgqueue.jobs order by 2"
    )
    for name, at in rows:
        found.setdefault(name, []).append(at)
    for name in ZONES:
        for kind, text in texts.items():
            expected = walk(expression(text), name, start, end)
            assert found[f"{kind}-{name.split('/')[1]}"] == expected, (kind, name)
    counted = db.execute("select count(*), count(distinct job_id) from pgqueue.schedule_runs").fetchone()
    assert counted == (sum(map(len, found.values())),) * 2


def due_at(db: Connection[Any], moment: datetime) -> DueSchedule:
    [due] = run(db, statements.find_due_schedules(moment, False, 10)).due
    return due


def fire(db: Connection[Any], due: DueSchedule, *fires: datetime) -> int | None:
    """Returns the number of jobs that were enqueued, or None if another transaction has locked or changed the schedule's row."""
    done = run(db, statements.fire_schedules([(due, Plan(fires, [None] * len(fires)))]))
    return done[due.id]


def test_a_scheduler_does_nothing_if_another_scheduler_was_first_or_the_schedule_was_edited(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    add(db, "s", cron="* * * * *")
    due = due_at(db, NOON)
    one, two = connect(autocommit=False), connect()
    assert fire(one, due, NOON) == 1
    assert fire(two, due, NOON) is None, (
        "the first scheduler has locked the row, and the second one does not wait"
    )
    one.commit()
    assert fire(two, due, NOON) is None, "the first scheduler has changed the row"
    assert len(jobs(db, "s")) == 1

    db.execute("update pgqueue.schedules set planned = false")
    due = due_at(db, NOON)
    assert fire(db, due, NOON) == 0, (
        "this fire time already has a run, for example because the clock went back"
    )
    db.execute("update pgqueue.schedules set planned = false")
    due = due_at(db, NOON + MINUTE)
    db.execute("update pgqueue.schedules set paused = true")
    assert fire(db, due, NOON + MINUTE) is None
    assert len(jobs(db, "s")) == 1


def test_no_run_and_no_job_is_stored_if_the_transaction_of_a_scheduler_fails(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    add(db, "s", cron="* * * * *")
    other = connect(autocommit=False)
    assert fire(other, due_at(db, NOON), NOON) == 1
    other.rollback()
    assert (runs(db, "s"), jobs(db, "s")) == ([], [])


# ------------------------------------------------------------------ the columns of a job


def test_the_job_has_the_arguments_and_options_of_the_schedule_and_the_fire_time(
    db: Connection[Any], dsn: str
) -> None:
    add(
        db, "s", cron="0 * * * *", args={"n": 1},
        options={"queue": "mail", "priority": 3, "max_attempts": 2, "tags": ["a"], "meta": {"b": 1}},
    )  # fmt: skip
    play(dsn, [NOON])
    row = db.execute(
        "select task, args, queue, priority, max_attempts, tags, meta, run_at <= now() from pgqueue.jobs"
    ).fetchone()
    meta = {"b": 1, "schedule": "s", "fire_at": "2027-06-01T12:00:00+00:00"}
    assert row == ("t", {"n": 1}, "mail", 3, 2, ["a"], meta, True)


def test_jitter_makes_the_job_due_later_and_does_not_change_the_fire_time(
    db: Connection[Any], dsn: str
) -> None:
    add(db, "s", every="10 seconds", anchor=NOON, jitter="30 seconds", overlap="allow")
    play(dsn, [NOON + 5 * MINUTE], grace=1000)
    rows = db.execute(
        "select extract(epoch from j.run_at - r.fire_at)::float8 from pgqueue.schedule_runs r"
        " join pgqueue.jobs j on j.id = r.job_id"
    ).fetchall()
    late = [seconds for (seconds,) in rows]
    assert len(late) == 31
    assert all(0 <= seconds < 30 for seconds in late)
    assert max(late) - min(late) > 10


def test_a_run_is_a_duplicate_if_an_unfinished_job_has_the_unique_key(db: Connection[Any], dsn: str) -> None:
    add(db, "s", cron="0 * * * *", options={"unique_key": "one"}, overlap="allow")
    play(dsn, [NOON, NOON + HOUR])
    assert [state for _, state in runs(db, "s")] == ["enqueued", "duplicate"]
    assert len(jobs(db, "s")) == 1


# ------------------------------------------------------------------ missed runs


def test_the_debounce_decides_when_the_job_is_due_and_the_jitter_does_not(db: Connection[Any]) -> None:
    add(db, "s", cron="0 * * * *", options={"unique": True, "debounce": 60}, jitter="1 hour", overlap="allow")
    plan = Plan([NOON, NOON + HOUR], [datetime.now(UTC) + HOUR] * 2)
    assert list(run(db, statements.fire_schedules([(due_at(db, NOON + HOUR), plan)])).values()) == [2]
    assert [state for _, state in runs(db, "s")] == ["enqueued", "duplicate"]
    [job] = jobs(db, "s")
    found = db.execute(
        "select run_at < clock_timestamp() + interval '61 s' from pgqueue.jobs where id = %s", [job]
    )
    assert found.fetchone() == (True,)


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        ({"missed": "once"}, [(3, "enqueued")]),
        ({"missed": "skip"}, [(3, "missed")]),
        ({"missed": "all"}, [(0, "enqueued"), (1, "enqueued"), (2, "enqueued"), (3, "enqueued")]),
        ({"missed": "all", "missed_cap": 2}, [(2, "enqueued"), (3, "enqueued")]),
    ],
)
def test_the_option_missed_decides_for_which_missed_fire_times_jobs_are_enqueued(
    db: Connection[Any], dsn: str, policy: dict[str, Any], states: list[tuple[int, str]]
) -> None:
    """One scheduler plans the schedule before noon. The next scheduler works only at a quarter past three."""
    add(db, "s", cron="0 * * * *", overlap="allow", edited_at=NOON - MINUTE, **policy)
    play(dsn, [NOON - MINUTE, NOON + 3 * HOUR + 15 * MINUTE])
    assert runs(db, "s") == [(NOON + n * HOUR, state) for n, state in states]
    assert overview(db, "s", "next_fire_at") == (NOON + 4 * HOUR,)
    truncated = states[0][0] > 0
    [since] = db.execute("select missed_since from pgqueue.schedule_runs order by fire_at limit 1").fetchone()  # type: ignore[misc]
    assert since == (NOON if truncated else None)


def test_a_fire_time_that_is_less_than_a_minute_late_does_not_count_as_missed(
    db: Connection[Any], dsn: str
) -> None:
    add(db, "s", every="10 seconds", anchor=NOON, missed="skip", overlap="allow", edited_at=NOON - MINUTE)
    play(dsn, [NOON - MINUTE, NOON + timedelta(seconds=55)])
    assert len(runs(db, "s")) == 6


def test_no_job_is_enqueued_later_for_the_fire_times_during_a_pause_of_the_schedule(
    db: Connection[Any], dsn: str
) -> None:
    add(db, "s", cron="0 * * * *", missed="all")
    play(dsn, [NOON])
    db.execute("update pgqueue.schedules set paused = true")
    play(dsn, [NOON + HOUR, NOON + 2 * HOUR])
    db.execute("update pgqueue.schedules set paused = false")
    db.execute("update pgqueue.schedules set edited_at = %s", [NOON + 2.5 * HOUR])
    play(dsn, [NOON + 3 * HOUR])
    assert [at for at, _ in runs(db, "s")] == [NOON, NOON + 3 * HOUR]


def test_a_schedule_with_a_single_time_fires_once_whatever_is_edited_or_purged(
    db: Connection[Any], dsn: str
) -> None:
    add(db, "s", at=datetime(2026, 1, 1, tzinfo=UTC))
    play(dsn, [NOON])
    db.execute("select pgqueue.run_schedule('s')")
    finish(db, Hand(db, ["t"]))
    db.execute("update pgqueue.schedules set paused = true")
    db.execute("update pgqueue.schedules set paused = false")
    assert run(db, statements.purge_runs(100)) == 0
    play(dsn, [NOON + HOUR])
    assert len(jobs(db, "s")) == 2
    assert overview(db, "s", "state, next_fire_at") == ("over", None)
    db.execute("update pgqueue.schedules set at = %s", [NOON + 2 * HOUR])
    play(dsn, [NOON + HOUR, NOON + 2 * HOUR])
    assert len(jobs(db, "s")) == 3


# ------------------------------------------------------------------ overlap


def test_overlap_queue_enqueues_the_jobs_one_after_the_other(db: Connection[Any], dsn: str) -> None:
    add(db, "s", cron="* * * * *")
    hand = Hand(db, ["t"])
    play(dsn, [NOON, NOON + MINUTE, NOON + 2 * MINUTE])
    assert [state for _, state in runs(db, "s")] == ["enqueued", "waiting", "waiting"]
    assert overview(db, "s", "waiting, last_run") == (2, "waiting")
    for done in (1, 2):
        finish(db, hand)
        play(dsn, [NOON + 2.5 * MINUTE], count=3)
        assert len(jobs(db, "s")) == done + 1
        assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (1,)
    finish(db, hand)
    play(dsn, [NOON + 3 * MINUTE])
    assert [state for _, state in runs(db, "s")] == ["enqueued"] * 4
    assert jobs(db, "s") == sorted(jobs(db, "s")), "the jobs are enqueued in the order of their fire times"


def test_overlap_skip_records_each_fire_time_that_it_skips(db: Connection[Any], dsn: str) -> None:
    add(db, "s", cron="* * * * *", overlap="skip")
    play(dsn, [NOON, NOON + MINUTE])
    finish(db, Hand(db, ["t"]))
    play(dsn, [NOON + 2 * MINUTE])
    assert [state for _, state in runs(db, "s")] == ["enqueued", "skipped", "enqueued"]


def test_overlap_cancel_old_cancels_the_former_job(db: Connection[Any], dsn: str) -> None:
    add(db, "s", cron="* * * * *", overlap="cancel-old")
    play(dsn, [NOON, NOON + MINUTE])
    states = [
        db.execute("select state from pgqueue.jobs where id = %s", [j]).fetchone() for j in jobs(db, "s")
    ]
    assert states == [("cancelled",), ("pending",)]
    [attempt] = Hand(db, ["t"]).claim()
    play(dsn, [NOON + 2 * MINUTE])
    asked = db.execute("select state, cancel_requested from pgqueue.jobs where id = %s", [attempt.id])
    assert asked.fetchone() == ("running", True)


def test_overlap_allow_enqueues_a_job_although_the_former_job_is_unfinished(
    db: Connection[Any], dsn: str
) -> None:
    add(db, "s", cron="* * * * *", overlap="allow")
    play(dsn, [NOON, NOON + MINUTE])
    assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (2,)
