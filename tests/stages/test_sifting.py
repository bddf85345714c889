"""A row on which a statement fails is made dead or left out, and the statement handles all other rows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.run import run
from pgqueue.database.sifting import make_dead
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.maintenance.alerting.watch import Watch
from pgqueue.maintenance.declarations import Declarations
from pgqueue.maintenance.overdue import finish_overdue_once
from pgqueue.maintenance.rescuer import rescue_all
from pgqueue.maintenance.scheduler import Scheduler
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.tally import Tally
from pgqueue.worker.claiming.lost_claims import jobs_of_lost_claims
from pgqueue.worker.settler import Settler
from pgqueue.worker.worker import Worker
from tests.failing_rows import count_states, expire_lease, refuse, with_link
from tests.schedules_by_hand import add
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

BOMB = '{"v": [' + ",".join(["1e131071"] * 9000) + "]}"  # 144 kB, and 1.2 GB as text

LONG = '{"v": [' + ",".join(["1e131071"] * 200) + "]}"  # 26 MB as text

# For each kind of row that the database refuses today: the columns and values of its INSERT, and whether a limit exists.
POISON = {
    "args": (f"args) values ('ok', '{BOMB}'", False),
    "args with a key": (f"concurrency_key, args) values ('ok', 'k', '{BOMB}'", True),
    "attempt": ("attempt) values ('ok', 32767", False),
    "lease_id": ("lease_id) values ('ok', 9223372036854775807", False),
    "attempt under a limit": ("attempt) values ('ok', 32767", True),
    "lease_id with a key": ("concurrency_key, lease_id) values ('ok', 'k', 9223372036854775807", True),
    "attempt in an order": ("concurrency_key, ordering, attempt) values ('ok', 'k', 'block', 32767", False),
}


def lift_checks(db: Connection[Any]) -> None:
    """Drops the checks of the columns, so that rows can be stored as in a database from before the migration that added the checks."""
    for domain in ("job_args", "job_meta", "job_note", "job_count", "job_lease"):
        db.execute(f"alter domain pgqueue.{domain} drop constraint {domain}_check".encode())


def dead_letters(db: Connection[Any]) -> list[tuple[Any, ...]]:
    return db.execute("select id, reason, last_error from pgqueue.dead_letters order by id").fetchall()


def drain(app: App, **settings: Any) -> None:
    Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.1, **settings)).run()


# ------------------------------------------------------------------ claims


@pytest.mark.parametrize(("poison", "limited"), POISON.values(), ids=POISON)
def test_a_job_on_which_every_claim_fails_is_made_dead_and_the_other_jobs_complete(
    db: Connection[Any], ok: App, poison: str, limited: bool
) -> None:
    lift_checks(db)
    if limited:
        db.execute("insert into pgqueue.limits (concurrency) values (5)")
    neighbours = (
        "insert into pgqueue.jobs (task, concurrency_key)"
        " select 'ok', case when n > 1 then 'n' || n end from generate_series(1, 2) n"
    )
    db.execute(neighbours)
    db.execute(f"insert into pgqueue.jobs (task, {poison})".encode())
    db.execute(neighbours)
    drain(ok)
    assert count_states(db) == [("ok", "completed", 4), ("ok", "dead", 1)]
    [(_, reason, error)] = dead_letters(db)
    assert reason == "undecodable"
    assert "exceeds" in error or "out of range" in error
    assert db.execute("select coalesce(sum(taken), 0) from pgqueue.seats").fetchone() == (0,)


def test_a_job_that_a_trigger_refuses_is_made_dead_because_other_jobs_succeed(
    db: Connection[Any], ok: App
) -> None:
    db.execute(
        "insert into pgqueue.jobs_live (task, priority) select 'ok', n % 2 from generate_series(1, 9) n"
    )
    db.execute("insert into pgqueue.jobs_live (task, tags) values ('ok', '{odd}')")
    db.execute(
        "create function no() returns trigger language plpgsql as 'begin raise exception ''not this one''; end'"
    )
    db.execute(
        "create trigger no before update on pgqueue.jobs_live for each row when (new.tags <> '{}') execute function no()"
    )
    drain(ok)
    assert count_states(db) == [("ok", "completed", 9), ("ok", "dead", 1)]


def test_a_claim_that_leaves_out_a_row_still_takes_no_more_jobs_than_there_is_room_for(
    db: Connection[Any], ok: App
) -> None:
    lift_checks(db)
    db.execute("insert into pgqueue.jobs (task, priority, attempt) values ('ok', -1, 32767)")
    db.execute("insert into pgqueue.jobs (task, priority) select 'ok', n / 2 from generate_series(0, 7) n")
    claimer = Worker(ok, WorkerSettings(queues={"default": None}))._claimer
    claimer.worker_id = Hand(db, ["ok"]).id

    async def play() -> int:
        try:
            while len(claimer._lanes.all()) < 5:
                await claimer._survey()
            return await claimer._claim(3) + await claimer._claim(1)
        finally:
            await claimer._link.close()

    assert asyncio.run(play()) == 3
    assert sorted(count_states(db)) == [("ok", "dead", 1), ("ok", "pending", 5), ("ok", "running", 3)]


def test_the_jobs_of_a_lost_claim_are_found_except_a_job_that_cannot_be_read(
    db: Connection[Any], dsn: str, ok: App
) -> None:
    lift_checks(db)
    worker = Worker(ok, WorkerSettings(queues={"default": None}))
    hand = Hand(db, ["ok"])
    db.execute("insert into pgqueue.jobs (task) select 'ok' from generate_series(1, 5)")
    assert len(hand.claim()) == 5
    db.execute(
        "update pgqueue.jobs_live set args = %s where id = (select min(id) from pgqueue.jobs_live)", [BOMB]
    )

    async def play() -> list[Any]:
        try:
            return await jobs_of_lost_claims(worker._links.claim, hand.id, [])
        finally:
            await worker._links.claim.close()

    found = asyncio.run(play())
    assert len(found) == 4
    assert [reason for _, reason, _ in dead_letters(db)] == ["undecodable"]


# ------------------------------------------------------------------ maintenance by the leader


def test_a_job_on_which_a_rescue_fails_is_made_dead_and_the_other_jobs_are_rescued(
    db: Connection[Any], dsn: str
) -> None:
    lift_checks(db)
    hand = Hand(db, ["ok"])
    db.execute(
        "insert into pgqueue.jobs (task, concurrency_key) select 'ok', null from generate_series(1, 20)"
    )
    db.execute("insert into pgqueue.jobs (task) values ('ok')")
    assert len(hand.claim(30)) == 21
    db.execute(
        "update pgqueue.jobs_live set seats_taken = '{0,2147483647,0,2147483647}', concurrency_key = 'k'"
        " where id = (select max(id) from pgqueue.jobs_live)"
    )
    expire_lease(db, hand.id)
    with_link(dsn, lambda made: rescue_all(made, 3, Tally()))
    assert db.execute("select state, count(*) from pgqueue.jobs group by 1 order by 1").fetchall() == [
        ("dead", 1),
        ("retrying", 20),
    ]
    assert [reason for _, reason, _ in dead_letters(db)] == ["undecodable"]


def test_a_job_on_which_finish_overdue_fails_is_made_dead_and_the_other_jobs_are_finished(
    db: Connection[Any], dsn: str
) -> None:
    db.execute(
        "insert into pgqueue.jobs (task, expires_at) select 'ok', now() - interval '1 s' from generate_series(1, 9)"
    )
    [(job,)] = db.execute("select max(id) from pgqueue.jobs").fetchall()
    db.execute(
        "insert into pgqueue.jobs (id, task, state, finished_at) values (%s, 'old', 'cancelled', now())",
        [job],
    )
    with_link(dsn, lambda made: finish_overdue_once(made, Tally()))
    assert count_states(db) == [("ok", "cancelled", 8), ("ok", "dead", 1), ("old", "cancelled", 1)]


def test_a_schedule_fires_although_another_schedule_cannot_be_read(db: Connection[Any], dsn: str) -> None:
    lift_checks(db)
    for name in ("one", "bad"):
        add(db, name, every="1 hour", edited_at=datetime(2026, 1, 1, tzinfo=UTC))
    db.execute("update pgqueue.schedules set args = %s where name = 'bad'", [BOMB])

    async def turn(made: Link) -> None:
        scheduler = Scheduler(made)
        await scheduler.turn(datetime(2026, 1, 1, 12, tzinfo=UTC))

    with_link(dsn, turn)
    problems = dict(db.execute("select name, problem from pgqueue.schedules").fetchall())
    assert problems["one"] is None
    assert "exceeds" in problems["bad"] or "maximum" in problems["bad"]
    assert db.execute(
        "select count(*) from pgqueue.schedules where next_at > '2026-01-01 12:00+00'"
    ).fetchone() == (1,)


def test_a_schedule_that_could_not_be_read_for_a_while_has_no_problem_and_fires_later(
    db: Connection[Any], dsn: str
) -> None:
    for name in ("one", "slow"):
        add(db, name, every="1 hour", edited_at=datetime(2026, 1, 1, tzinfo=UTC))
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    # The function below is called only for a schedule with a waiting run: it decides whether this run can be enqueued now.
    db.execute("update pgqueue.schedules set planned = true, next_at = '2027-01-01' where name = 'slow'")
    db.execute(
        "insert into pgqueue.schedule_runs (schedule_id, fire_at, state)"
        " select id, '2026-01-01', 'waiting' from pgqueue.schedules where name = 'slow'"
    )
    db.execute(
        "create or replace function pgqueue.unfinished_runs(schedule bigint) returns bigint[] language plpgsql stable as"
        " $$ begin if schedule = (select s.id from pgqueue.schedules s where s.name = 'slow') then"
        " raise exception 'it took too long' using errcode = '57014'; end if; return '{}'; end $$"
    )

    async def turn(made: Link) -> None:
        await Scheduler(made).turn(noon)

    with_link(dsn, turn)
    assert db.execute("select name, problem, next_at > %s from pgqueue.schedules order by name", [noon]).fetchall() == [
        ("one", None, True), ("slow", None, True),
    ]  # fmt: skip


def test_an_alert_about_a_dead_job_opens_although_other_dead_jobs_have_impossible_times(
    db: Connection[Any], dsn: str
) -> None:
    for moment in ("infinity", "-infinity", "20000-01-01", "now"):
        db.execute("insert into pgqueue.jobs (task, state, finished_at) values ('t', 'dead', %s)", [moment])

    async def look(made: Link) -> None:
        await Watch(made, AlertSettings(), 5.0).look(0.0)

    with_link(dsn, look)
    assert db.execute("select count from pgqueue.alerts").fetchall() == [(1,)]


def test_workers_start_and_other_declarations_are_stored_although_one_declaration_fails(
    db: Connection[Any], app: App, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("bad", "one", "two"):
        app.task(name=name, queue="slow")(_nothing)
    db.execute(
        "insert into pgqueue.tasks (name, app, digest, former_digests) values ('bad', 'a', 'other', '{{a,b},{c,d}}')"
    )
    db.execute("insert into pgqueue.jobs (task, queue) values ('one', 'default')")
    Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.1)).run()
    assert count_states(db) == [("one", "completed", 1)]

    async def declare(made: Link) -> None:
        declarations = Declarations(app.name, [], 1.0, [task.spec for task in app.tasks.values()])
        running = asyncio.create_task(declarations.run(made))
        await asyncio.to_thread(
            wait_until, lambda: "the declared options of task bad are not stored" in caplog.text
        )
        running.cancel()
        await asyncio.wait([running])

    with_link(dsn, declare)
    assert db.execute("select name, digest = 'other' from pgqueue.tasks order by name").fetchall() == [
        ("bad", True), ("one", False), ("two", False),
    ]  # fmt: skip


def test_a_declaration_that_fails_for_a_while_is_stored_later_and_not_logged_as_a_failure(
    db: Connection[Any], app: App, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("late", "one"):
        app.task(name=name, queue="slow")(_nothing)
    refuse(db, "57014", "insert or update", "pgqueue.tasks", "new.name = 'late'")

    async def declare(made: Link) -> None:
        declarations = Declarations(app.name, [], 1.0, [task.spec for task in app.tasks.values()])
        await declarations._sift_tasks(made)
        assert db.execute("select name from pgqueue.tasks").fetchall() == [("one",)]
        db.execute("drop trigger no on pgqueue.tasks")
        await declarations._sift_tasks(made)

    with_link(dsn, declare)
    assert db.execute("select name from pgqueue.tasks order by name").fetchall() == [("late",), ("one",)]
    assert "are not stored" not in caplog.text


def _nothing() -> None: ...


def test_the_log_shows_no_values_of_a_job_that_could_not_be_made_dead(
    db: Connection[Any], dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The errors of a user's trigger and of a check: in both, DETAIL shows the row."""
    db.execute(
        "insert into pgqueue.jobs (task, args) select 'ok', '{\"key\": \"CANARY\"}' from generate_series(1, 2)"
    )
    db.execute("alter table pgqueue.jobs_dead add constraint refused check (id <> 1)")
    db.execute(
        "create function no() returns trigger language plpgsql as $$ begin if new.id = 2 then"
        " raise exception 'not this one' using detail = 'CANARY'; end if; return new; end $$"
    )
    db.execute("create trigger no before insert on pgqueue.jobs_dead for each row execute function no()")

    async def play(made: Link) -> None:
        for job_id in (1, 2):
            await make_dead(made.once, job_id, 0, ValueError("odd"))

    with_link(dsn, play)
    for job_id, why in (1, 'new row for relation "jobs_dead" violates'), (2, "RaiseException: not this one"):
        assert (
            f"job {job_id} makes statements over many jobs fail (ValueError: odd), and could" in caplog.text
        )
        assert why in caplog.text
    assert "CANARY" not in caplog.text


# ------------------------------------------------------------------ settling


def test_only_the_job_whose_outcome_cannot_be_sent_is_made_dead(db: Connection[Any], dsn: str) -> None:
    """An error that the driver raises before it sends anything counts as a refusal of the outcome, too."""
    hand = Hand(db, ["ok"])
    db.execute("insert into pgqueue.jobs (task) select 'ok' from generate_series(1, 9)")
    attempts = hand.claim()
    freed: list[Any] = []

    async def settle(made: Link) -> None:
        settler = Settler(made, freed.extend)
        settler.worker_id = hand.id
        for attempt in attempts:
            bad = attempt is attempts[3]
            settler.add(attempt, Outcome.completed('"\ud800"' if bad else '"fine"'))
        settler.stop()
        await settler.run()

    with_link(dsn, settle)
    assert len(freed) == 9
    assert count_states(db) == [("ok", "completed", 8), ("ok", "dead", 1)]
    assert [reason for _, reason, _ in dead_letters(db)] == ["unsettleable"]


def test_a_job_is_made_dead_if_the_database_refuses_every_outcome_of_this_job(
    db: Connection[Any], dsn: str
) -> None:
    """The sum of the weights of its seats is too large for an integer, so every statement that gives the seats back fails."""
    hand = Hand(db, ["ok"])
    db.execute("insert into pgqueue.jobs (task) select 'ok' from generate_series(1, 3)")
    attempts = hand.claim()
    db.execute(
        "update pgqueue.jobs_live set seats_taken = '{0,2147483647,0,2147483647}', concurrency_key = 'k' where id = %s",
        [attempts[1].id],
    )

    async def settle(made: Link) -> None:
        settler = Settler(made, lambda _: None)
        settler.worker_id = hand.id
        for attempt in attempts:
            settler.add(attempt, COMPLETED)
        settler.stop()
        await settler.run()

    with_link(dsn, settle)
    assert count_states(db) == [("ok", "completed", 2), ("ok", "dead", 1)]
    assert [reason for _, reason, _ in dead_letters(db)] == ["undecodable"]


# ------------------------------------------------------------------ lists and details of jobs


def test_jobs_are_listed_and_shown_whatever_values_one_of_them_has(db: Connection[Any]) -> None:
    lift_checks(db)
    db.execute("insert into pgqueue.jobs (task, args) values ('fine', '{\"n\": 1}')")
    db.execute(
        "insert into pgqueue.jobs (task, args, meta, progress, started_at) values ('odd', %s, %s, %s, 'infinity')",
        [LONG, BOMB, LONG],
    )
    db.execute(
        "insert into pgqueue.jobs (task, state, result, started_at, finished_at)"
        " values ('old', 'completed', %s, '-infinity', '20000-01-01')",
        [LONG],
    )
    jobs = run(db, statements.list_jobs())
    assert [job.task for job in jobs] == ["old", "odd", "fine"]
    assert jobs[2].args == {"n": 1}
    for job in jobs:
        assert run(db, statements.get_job(job.id)) == job
