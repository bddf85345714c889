"""Workers are killed at each point of a workflow that fails and is undone. Each node is undone exactly once, the last one first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests import checker
from tests.apps import undo_tasks
from tests.process.worker_processes import QUICK, ROOT
from tests.waiting import wait_until
from tests.workflows import store, violations

ORDER = ["a", "b", "undo b", "undo a"]
POINTS = [f"{where} {what}" for what in ORDER for where in ("before", "inside", "after")] + ["before fail"]
ACTS = "create table acts (flow int, what text, seq bigint generated always as identity)"
# The first time that an undo is stored, the server ends the session that stores it. A sequence remembers this, because it is not rolled back.
CUT = """
create sequence cuts;
create function cut() returns trigger language plpgsql as $$
begin
    if nextval('public.cuts') = 1 then
        perform pg_terminate_backend(pg_backend_pid());
    end if;
    return null;
end $$;
create trigger cut after insert on pgqueue.nodes for each row when (new.undoes > 0) execute function cut()
"""
SLOW = """
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$;
create trigger slow after insert on pgqueue.nodes for each row when (new.undoes > 0) execute function slow()
"""
STORING = (
    "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
)


@pytest.fixture
def folder(tmp_path: Path, dsn: str, db: Connection[Any]) -> Iterator[Path]:
    """The folder with a file for each kill. At the end of the test, the checker checks all invariants."""
    checker.install(dsn)
    db.execute(ACTS)
    yield tmp_path
    assert violations(db) == {}
    checker.check(dsn)


def flow(db: Connection[Any], number: int, point: str = "") -> int:
    given = {"flow": number, "point": point}

    def node(what: str, *after: str) -> dict[str, Any]:
        undo = {"task": "act", "args": {**given, "what": f"undo {what}"}}
        return {
            "name": what,
            "task": "act",
            "args": {**given, "what": what},
            "after": list(after),
            "undo": undo,
        }

    fails = {"name": "fails", "task": "fail", "args": given, "after": ["b"]}
    return store(db, node("a"), node("b", "a"), fails, name=f"f{number}")


def worker(dsn: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "pgqueue",
        "work",
        "-A",
        undo_tasks.PATH,
        "-c",
        "1",
        "--crash-limit",
        "50",
        *QUICK,
        *options,
    ]
    environment = {"PGQUEUE_DSN": dsn, "PYTHONPATH": str(ROOT), undo_tasks.FOLDER: str(folder)}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)


def states(db: Connection[Any]) -> set[str]:
    return {state for (state,) in db.execute("select state from pgqueue.workflow_overview")}


def acts(db: Connection[Any], number: int) -> list[str]:
    return [what for (what,) in db.execute("select what from acts where flow = %s order by seq", [number])]


def test_a_workflow_whose_worker_is_killed_at_any_point_is_undone_once_and_in_order(
    dsn: str, db: Connection[Any], folder: Path
) -> None:
    for number, point in enumerate(POINTS):
        flow(db, number, point)

    def is_over() -> bool:
        db.execute(
            "update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s' where state <> 'stopped'"
        )
        worker(dsn, folder, "--drain").wait(60)
        return states(db) == {"undone"}

    wait_until(is_over, 240)
    assert len(list(folder.iterdir())) == len(POINTS)
    assert {number: acts(db, number) for number in range(len(POINTS))} == dict.fromkeys(
        range(len(POINTS)), ORDER
    )


def test_an_undo_is_stored_once_although_the_server_ends_the_session_that_stores_it(
    dsn: str, db: Connection[Any], folder: Path
) -> None:
    db.execute(CUT)
    flow(db, 0)
    running = worker(dsn, folder)
    try:
        wait_until(lambda: states(db) == {"undone"})
    finally:
        running.terminate()
    assert running.wait(30) == 0
    assert acts(db, 0) == ORDER
    assert db.execute("select last_value from cuts").fetchone() == (3,)


def test_an_undo_is_stored_once_although_the_worker_is_killed_while_it_is_stored(
    dsn: str, db: Connection[Any], folder: Path
) -> None:
    db.execute(SLOW)
    flow(db, 0)
    killed = worker(dsn, folder)
    wait_until(lambda: db.execute(STORING).fetchone() == (1,))
    killed.kill()
    killed.wait()
    running = worker(dsn, folder)
    try:
        wait_until(lambda: states(db) == {"undone"}, 60)
    finally:
        running.terminate()
    assert running.wait(30) == 0
    assert acts(db, 0) == ORDER
