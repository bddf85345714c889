"""Two jobs can have the same id: if an enqueuer chose the id, or if the sequence is behind the ids in the tables. Each of these jobs ends nevertheless, and its seat is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from typer.testing import CliRunner

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.database import migrate, statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import run
from pgqueue.errors import TakenIdError
from pgqueue.maintenance.overdue import finish_overdue_once
from pgqueue.maintenance.rescuer import rescue_all
from pgqueue.model.tally import Tally
from pgqueue.sql import grants
from pgqueue.ui.cli.commands import root
from pgqueue.ui.cli.doctor import examine
from pgqueue.worker.worker import Worker
from tests.worker_by_hand import Hand

TAKEN = "The id of this job is in use by another job"
REMARK = "It was enqueued under the id {}, which another dead job has."


@pytest.fixture
def shop(app: App) -> App:
    @app.task(name="t", retry=1)
    async def t(n: int = 0) -> None:
        if n < 0:
            raise ValueError(n)

    return app


def drain(app: App) -> None:
    Worker(app, WorkerSettings(queues={"*": None}, drain=True, poll=0.1)).run()


def enqueue(app: App, *numbers: int) -> None:
    for n in numbers:
        app.tasks["t"].enqueue(n=n)


def jobs(db: Connection[Any]) -> list[tuple[Any, ...]]:
    return db.execute(
        "select (args ->> 'n')::int, state from pgqueue.jobs where task = 't' order by 1, 2"
    ).fetchall()


def linked(dsn: str, does: Callable[[Link], Coroutine[Any, Any, Any]]) -> None:
    async def play() -> None:
        link = Link(dsn, "test", Outage(dsn))
        try:
            await does(link)
        finally:
            await link.close()

    asyncio.run(play())


# ------------------------------------------------------------------ an enqueuer chose the id


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [(-1, -2, "undecodable"), (1, 2, "unsettleable"), (-1, 2, None), (1, -2, "attempts_exhausted")],
    ids=[
        "the first job is dead, the second one becomes dead",
        "the first job is completed, the second one completes",
        "the first job is dead, the second one completes",
        "the first job is completed, the second one becomes dead",
    ],
)
def test_a_job_with_the_id_of_a_finished_job_ends_and_gives_its_seat_back(
    shop: App,
    db: Connection[Any],
    role: Callable[..., str],
    first: int,
    second: int,
    reason: str | None,
) -> None:
    db.execute("insert into pgqueue.limits (queue, concurrency) values ('default', 1)")
    enqueue(shop, first)
    drain(shop)
    with psycopg.connect(role(grants("enqueuer")), autocommit=True) as enqueuer:
        enqueuer.execute(
            "insert into pgqueue.jobs_live (id, task, max_attempts, args) values (1, 't', 1, jsonb_build_object('n', %s::int))",
            [second],
        )
    enqueue(shop, 7, 8)
    drain(shop)
    letters = db.execute(
        "select id, reason, last_error, args ->> 'n' from pgqueue.dead_letters where args = jsonb_build_object('n', %s::int)",
        [second],
    ).fetchall()
    assert [letter[1] for letter in letters] == ([] if reason is None else [reason])
    assert {state for n, state in jobs(db) if n > 2} == {"completed"}
    assert len(jobs(db)) == 4
    assert db.execute("select coalesce(sum(taken), 0) from pgqueue.seats").fetchone() == (0,)
    if reason == "unsettleable":
        assert TAKEN in letters[0][2]
        assert "pgqueue.jobs_id_seq" in letters[0][2]
    if reason == "undecodable":
        [(number, _, error, _)] = letters
        assert number > 1
        assert TAKEN in error
        assert REMARK.format(1) in error
        assert db.execute(
            "select to_state, error from pgqueue.transitions where job_id = %s", [number]
        ).fetchall() == [("dead", error)]


def test_jobs_with_ids_of_dead_jobs_end_if_they_are_rescued_or_past_their_deadline(
    db: Connection[Any], role: Callable[..., str]
) -> None:
    leader = role(grants("worker"))
    db.execute(
        "insert into pgqueue.jobs (id, task, state, finished_at) select n, 't', 'dead', now() from generate_series(1, 2) n"
    )
    db.execute("insert into pgqueue.jobs (id, task, max_attempts) values (1, 't', 1)")
    hand = Hand(db, ["t"])
    assert [attempt.id for attempt in hand.claim()] == [1]
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    db.execute("insert into pgqueue.jobs (id, task, deadline_at) values (2, 't', now() - interval '1 s')")
    linked(leader, lambda link: rescue_all(link, 3, Tally()))
    linked(leader, lambda made: finish_overdue_once(made, Tally()))
    assert jobs(db) == [(None, "dead")] * 4
    for job in (1, 2):
        assert db.execute(
            "select count(*) from pgqueue.dead_letters where last_error like %s", ["%" + REMARK.format(job)]
        ).fetchone() == (1,)


def test_cancel_fails_with_a_clear_error_if_a_finished_job_has_the_same_id(db: Connection[Any]) -> None:
    db.execute("insert into pgqueue.jobs (id, task, state, finished_at) values (1, 't', 'cancelled', now())")
    db.execute("insert into pgqueue.jobs (id, task) values (1, 't')")
    with pytest.raises(TakenIdError, match="PGQ-208  " + TAKEN):
        run(db, statements.cancel(1))


# ------------------------------------------------------------------ the sequence is behind


def test_jobs_end_and_their_hooks_are_called_although_the_sequence_repeats_all_ids(
    shop: App, db: Connection[Any]
) -> None:
    hooked_ids = []

    @shop.tasks["t"].on_dead
    async def dead(job: Any, failure: Any) -> None:
        hooked_ids.append(job.id)

    enqueue(shop, -1, -2, -3, 4)
    drain(shop)
    first = len(hooked_ids)
    db.execute("alter sequence pgqueue.jobs_id_seq restart")
    enqueue(shop, -11, 12, 13, 14)
    drain(shop)
    assert [state for n, state in jobs(db) if n == -11] == ["dead"]
    assert {state for _, state in jobs(db)} <= {"completed", "dead"}
    assert len(jobs(db)) == 8
    assert db.execute("select count(*), count(distinct id) from pgqueue.jobs_dead").fetchone() == (
        len(hooked_ids),
        len(hooked_ids),
    )
    assert len(hooked_ids) > first


def test_free_id_returns_an_id_that_no_unfinished_and_no_dead_job_has(db: Connection[Any]) -> None:
    db.execute("insert into pgqueue.jobs (id, task) select n, 't' from generate_series(1, 50) n")
    db.execute(
        "insert into pgqueue.jobs (id, task, state, finished_at) select n, 't', 'dead', now() from generate_series(51, 99) n"
    )
    assert db.execute("select pgqueue.free_id()").fetchone() == (100,)


# ------------------------------------------------------------------ doctor and migrate


def findings(db: Connection[Any], dsn: str) -> list[tuple[str, str]]:
    return [
        (found.what, found.do)
        for found in examine(db, dsn)
        if found.level == "error" and "jobs_id_seq" in found.what
    ]


@pytest.mark.parametrize("state", ["pending", "dead", "completed"])
def test_the_doctor_finds_a_sequence_that_is_behind_the_ids_and_its_advice_repairs_it(
    db: Connection[Any], dsn: str, state: str
) -> None:
    run(db, statements.add_partitions(2))
    assert findings(db, dsn) == []
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    assert findings(db, dsn) == []
    db.execute(
        "insert into pgqueue.jobs (id, task, state, finished_at) values (500, 't', %s, now())", [state]
    )
    [(what, do)] = findings(db, dsn)
    assert what.startswith("PGQ-208  The sequence pgqueue.jobs_id_seq stands at 1, behind the id 500")
    db.execute(do.encode())
    assert findings(db, dsn) == []
    assert db.execute("insert into pgqueue.jobs (task) values ('t') returning id").fetchone() == (501,)


def test_an_id_that_the_sequence_can_never_reach_is_not_reported(db: Connection[Any], dsn: str) -> None:
    db.execute("insert into pgqueue.jobs (id, task) values (9223372036854775807, 't')")
    assert migrate.check_ids(db) is None


def test_migrate_reports_a_sequence_that_is_behind_the_ids(db: Connection[Any], dsn: str) -> None:
    db.execute("insert into pgqueue.jobs (id, task) values (500, 't')")
    done = CliRunner().invoke(root(), ["migrate", "--dsn", dsn])
    assert done.exit_code == 0
    assert "setval('pgqueue.jobs_id_seq'" in " ".join(done.stderr.split())
