"""``pgq audit``, and the commands whose actions it lists and undoes."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.ui.acting import operations
from tests.command_line import Done
from tests.factories import ENDS_ITS_SESSION, add_jobs, count, look
from tests.worker_by_hand import Hand, make_one_dead

Pgq = Callable[..., Done]


def states(db: Connection[Any]) -> dict[str, int]:
    return dict(db.execute("select state, count(*) from pgqueue.jobs group by 1").fetchall())


def test_an_action_is_listed_shown_and_undone(pgq: Pgq, db: Connection[Any]) -> None:
    add_jobs(db, task="greet", count=3, queue="mail")
    cancelled = pgq("jobs", "cancel", "--queue", "mail")
    assert "undo       pgq audit undo 1" in cancelled.err
    [row] = pgq("audit", "list", "--json").items
    assert (row["action"], row["source"], row["changed"], row["ended"]) == ("cancel", "cli", 3, True)
    assert row["actor"].startswith(f"{getpass.getuser()}@")
    assert row["about"]["queue"] == "mail"
    assert pgq("audit", "list").rows[0][3:5] == ["cli", "cancel"]
    shown = json.loads(pgq("audit", "show", "1", "--json").out)
    assert [one["refused"] for one in shown["jobs"]] == [None] * 3
    assert "cancel" in pgq("audit", "show", "1").out
    assert "3 undone" in pgq("audit", "undo", "1").err
    assert states(db) == {"pending": 3}
    assert pgq("audit", "list").rows[1][-1].startswith("undone by")


def test_an_undo_lists_the_jobs_that_have_moved_on(pgq: Pgq, db: Connection[Any]) -> None:
    first, second = add_jobs(db, task="greet", count=2)
    for job in (first, second):
        make_one_dead(db, job)
    pgq("jobs", "revive", str(first), str(second))
    Hand(db, ["greet"]).claim(1)
    done = pgq("audit", "undo", "1")
    assert (done.code, done.rows) == (0, [[str(first), "it is running"]])
    assert "1 running, 1 undone" in done.err
    assert look(db, second) == "dead"


def test_an_undo_of_which_nothing_is_left_exits_with_6(pgq: Pgq, db: Connection[Any]) -> None:
    [job] = add_jobs(db, task="greet")
    pgq("jobs", "edit", str(job), "--priority", "3")
    Hand(db, ["greet"]).claim(1)
    done = pgq("audit", "undo", "1", "--json")
    assert (done.code, done.items) == (6, [{"id": job, "result": "running"}])
    assert "PGQ-514" in done.err


def test_jobs_delete_deletes_jobs_and_brings_them_back_by_an_undo(pgq: Pgq, db: Connection[Any]) -> None:
    first, second = add_jobs(db, task="greet", count=2)
    Hand(db, ["greet"]).claim(1)
    done = pgq("jobs", "delete", str(first), str(second), "--json")
    assert [item["result"] for item in done.items] == ["running", "deleted"]
    assert done.code == 6
    assert count(db) == 1
    assert pgq("audit", "undo", "1").code == 0
    assert states(db) == {"running": 1, "pending": 1}


def test_jobs_delete_forget_cannot_be_undone(pgq: Pgq, db: Connection[Any]) -> None:
    [job] = add_jobs(db, task="greet")
    assert pgq("jobs", "delete", str(job), "--forget").code == 0
    assert count(db) == count(db, "undo_rows") == 0
    assert pgq("audit", "undo", "1").code == 6


def test_jobs_run_now_makes_scheduled_jobs_due(pgq: Pgq, db: Connection[Any]) -> None:
    [job] = add_jobs(db, task="greet", run_at="2031-01-01")
    done = pgq("jobs", "run-now", str(job))
    assert (done.code, done.rows) == (0, [[str(job), "greet", "pending", "due"]])
    assert [attempt.id for attempt in Hand(db, ["greet"]).claim()] == [job]


def test_a_dry_run_writes_no_action(pgq: Pgq, db: Connection[Any]) -> None:
    [job] = add_jobs(db, task="greet")
    for verb in ("cancel", "delete", "run-now"):
        assert pgq("jobs", verb, str(job), "--dry-run").code == 0
    assert count(db, "audit") == 0
    assert look(db, job) == "pending"


def test_many_jobs_are_one_action(pgq: Pgq, db: Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "SLICE", 10)
    jobs = add_jobs(db, task="greet", count=35)
    done = pgq("jobs", "cancel", *map(str, reversed(jobs)), "--json")
    assert [item["id"] for item in done.items] == jobs[::-1]
    [row] = pgq("audit", "list", "--json").items
    assert (row["changed"], row["slices"]) == (35, 4)
    assert len(pgq("audit", "undo", str(row["id"]), "--json").items) == 35
    assert states(db) == {"pending": 35}


def test_short_commands_list_cancel_and_revive_jobs(pgq: Pgq, db: Connection[Any]) -> None:
    [job] = add_jobs(db, task="greet")
    assert [row[0] for row in pgq("ls").rows] == [str(job)]
    assert pgq("cancel", str(job)).code == pgq("revive", str(job)).code == 0
    assert look(db, job) == "pending"


def test_commands_about_queues_and_limits_are_undone(pgq: Pgq, db: Connection[Any]) -> None:
    pgq("queues", "pause", "mail")
    pgq("limits", "set", "--queue", "mail", "--concurrency", "3")
    assert pgq("audit", "undo", "2").code == pgq("audit", "undo", "1").code == 0
    assert db.execute("select paused from pgqueue.queues where name = 'mail'").fetchone() == (False,)
    assert count(db, "limits") == 0
    assert [row["action"] for row in pgq("audit", "list", "--action", "pause", "--json").items] == ["pause"]


@pytest.mark.parametrize("verb", ["cancel", "edit", "undo"])
def test_an_action_that_loses_its_connection_ends_its_row_at_once(
    verb: str, pgq: Pgq, db: Connection[Any]
) -> None:
    add_jobs(db, task="greet", count=1200)
    if verb == "undo":
        pgq("jobs", "cancel", "--queue", "default")
        db.execute("update pgqueue.audit set changed = 0")
    db.execute(ENDS_ITS_SESSION)
    command = {
        "cancel": ["jobs", "cancel", "--queue", "default"],
        "edit": ["jobs", "edit", "--where-queue", "default", "--args", '{"name": "ann"}'],
        "undo": ["audit", "undo", "1"],
    }[verb]
    assert " jobs had been changed before." in pgq(*command).err
    row = next(one for one in pgq("audit", "list", "--json").items if one["slices"])
    assert (row["action"], row["ended"], "terminating connection" in row["stopped"]) == (verb, True, True)
