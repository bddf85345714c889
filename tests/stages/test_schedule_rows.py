"""The rows of schedules that people write and read: bad rows, edits, runs by hand, the overview, and old runs."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.schedules_by_hand import HOUR, MINUTE, NOON, add, finish, jobs, overview, play, runs
from tests.worker_by_hand import Hand

# ------------------------------------------------------------------ rows that people write


# For each bad schedule: its columns, and a part of the problem that its row must show.
BAD = {
    "expression": ({"cron": "61 * * * *"}, "'61' is no minute"),
    "never": ({"cron": "0 0 30 2 *"}, "never fires"),
    "zone": ({"cron": "0 * * * *", "tz": "Europe/Warsav"}, "did you mean Europe/Warsaw"),
    "option": ({"cron": "0 * * * *", "options": {"colour": "red"}}, "no option colour"),
    "queue": ({"cron": "0 * * * *", "options": {"queue": "no queue"}}, "cannot name a queue"),
    "run_at": ({"cron": "0 * * * *", "options": {"run_at": "2030-01-01"}}, "takes no run_at"),
}


def test_a_bad_schedule_shows_its_problem_and_the_other_schedules_fire(db: Connection[Any], dsn: str) -> None:
    for name, (columns, _) in BAD.items():
        add(db, name, **columns)
    add(db, "z-good", cron="0 * * * *")
    play(dsn, [NOON])
    assert len(jobs(db, "z-good")) == 1
    for name, (_, said) in BAD.items():
        state, problem = overview(db, name, "state, problem")
        assert state == "problem"
        assert said in problem
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)
    db.execute("update pgqueue.schedules set cron = '0 * * * *' where name = 'expression'")
    assert overview(db, "expression", "state, problem") == ("new", None)


def test_a_schedule_whose_job_the_database_refuses_has_a_problem_until_it_is_edited(
    db: Connection[Any], dsn: str
) -> None:
    """The fire time whose job was refused is not lost: a job for this fire time is enqueued after the edit."""
    add(db, "s", cron="0 * * * *")
    add(db, "t", cron="0 * * * *")
    db.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$ begin raise exception using errcode = '23514', message = 'pgqueue: not today'; end $$"
    )
    db.execute(
        "create trigger refuse before insert on pgqueue.jobs_live for each row"
        " when (new.meta ->> 'schedule' = 's') execute function public.refuse()"
    )
    play(dsn, [NOON])
    assert (len(jobs(db, "s")), len(jobs(db, "t"))) == (0, 1)
    assert "not today" in overview(db, "s", "problem")[0]
    db.execute("drop trigger refuse on pgqueue.jobs_live")
    play(dsn, [NOON + MINUTE])
    assert jobs(db, "s") == []
    db.execute("update pgqueue.schedules set args = '{\"n\": 2}' where name = 's'")
    play(dsn, [NOON + MINUTE])
    assert runs(db, "s") == [(NOON, "enqueued")]


@pytest.mark.parametrize(
    "columns",
    [
        {"cron": "0 * * * *", "every": "1 hour"},
        {},
        {"every": "0.5 seconds"},
        {"every": "1 month"},
        {"cron": "0 * * * *", "overlap": "pile"},
        {"cron": "0 * * * *", "missed_cap": 0},
        {"cron": "0 * * * *", "jitter": "-1 second"},
        {"cron": "0 * * * *", "args": [1]},
        {"at": "infinity"},
    ],
)
def test_the_database_refuses_a_schedule_with_invalid_columns(
    db: Connection[Any], columns: dict[str, Any]
) -> None:
    columns = {key: psycopg.types.json.Jsonb(value) if key == "args" else value for key, value in columns.items()}  # fmt: skip
    with pytest.raises(psycopg.errors.CheckViolation):
        add(db, "s", **columns)


def test_an_edit_keeps_the_next_fire_time_unless_it_changes_when_the_schedule_fires(
    db: Connection[Any], dsn: str
) -> None:
    add(db, "s", cron="0 * * * *")
    play(dsn, [NOON - MINUTE])
    db.execute("update pgqueue.schedules set args = '{\"n\": 1}', overlap = 'allow'")
    assert db.execute("select next_at, planned from pgqueue.schedules").fetchone() == (NOON, False)
    play(dsn, [NOON])
    db.execute("update pgqueue.schedules set cron = '30 * * * *'")
    assert db.execute(
        "select next_at, planned, edited_at > now() - interval '1 minute' from pgqueue.schedules"
    ).fetchone() == (None, False, True)
    db.execute("update pgqueue.schedules set edited_at = %s", [NOON + 45 * MINUTE])
    play(dsn, [NOON + 50 * MINUTE, NOON + 90 * MINUTE])
    assert [at for at, _ in runs(db, "s")] == [NOON, NOON + 90 * MINUTE]


def test_run_schedule_enqueues_a_job_even_if_the_schedule_is_paused(db: Connection[Any], dsn: str) -> None:
    add(db, "s", cron="0 * * * *")
    play(dsn, [NOON])
    db.execute("update pgqueue.schedules set paused = true")
    before = db.execute("select next_at, paused from pgqueue.schedules").fetchone()
    found = db.execute("select pgqueue.run_schedule('s'), pgqueue.run_schedule('unknown')").fetchone()
    assert found
    assert found[0] in jobs(db, "s")
    assert found[1] is None
    assert db.execute("select next_at, paused from pgqueue.schedules").fetchone() == before
    assert db.execute("select count(*) from pgqueue.schedule_runs where manual").fetchone() == (1,)


def test_one_select_shows_the_overview_of_a_schedule(db: Connection[Any], dsn: str) -> None:
    add(db, "s", cron="0 * * * *", tz="Europe/Warsaw")
    add(db, "n", every="1 hour", anchor=NOON + HOUR)
    play(dsn, [NOON])
    finish(db, Hand(db, ["t"]))
    columns = "fires, tz, state, last_fire_at, last_run, last_job_state, next_fire_at, source"
    assert overview(db, "s", columns) == (
        "0 * * * *", "Europe/Warsaw", "on", NOON, "enqueued", "completed", NOON + HOUR, "sql",
    )  # fmt: skip
    assert overview(db, "n", columns) == (
        "every 01:00:00", "UTC", "on", None, None, None, NOON + HOUR, "sql",
    )  # fmt: skip


def test_old_runs_are_purged_except_the_last_run_and_unfinished_runs(db: Connection[Any], dsn: str) -> None:
    schedule_id = add(db, "s", cron="0 * * * *", overlap="allow")
    hand = Hand(db, ["t"])
    db.execute(
        "insert into pgqueue.schedule_runs (schedule_id, fire_at, state) select %s, now() - make_interval(days => n),"
        " case when n = 12 then 'waiting' else 'skipped' end from generate_series(1, 20) n",
        [schedule_id],
    )
    job_id = db.execute("select id from pgqueue.enqueue('t')").fetchone()
    assert job_id
    db.execute(
        "update pgqueue.schedule_runs set job_id = %s where fire_at < now() - interval '19.5 days'", job_id
    )
    assert run(db, statements.purge_runs(5)) == 5
    # 14 runs are older than a week. Five of them were purged before, one is waiting, and the job of another one is unfinished.
    assert run(db, statements.purge_runs(100)) == 7
    assert run(db, statements.purge_runs(100)) == 0
    assert [state for _, state in runs(db, "s")].count("waiting") == 1
    finish(db, hand)
    assert run(db, statements.purge_runs(100)) == 1
    db.execute("delete from pgqueue.schedules")
    assert db.execute("select count(*) from pgqueue.schedule_runs").fetchone() == (0,)
