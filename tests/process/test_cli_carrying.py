"""``pgq jobs export`` and ``import``, ``pgq queues show``, ``move`` and ``purge``, ``pgq tasks show`` and ``schema``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.command_line import Done
from tests.factories import add_jobs, count, enqueue, look
from tests.worker_by_hand import Hand, make_one_dead

Pgq = Callable[..., Done]


def test_exported_jobs_are_imported_as_new_jobs(pgq: Pgq, db: Connection[Any], tmp_path: Path) -> None:
    job = enqueue(
        db, "greet", {"name": "Ada"}, queue="mail", priority=3, tags=["a"], meta={"m": 1}, timeout=9, concurrency_key="c"
    )  # fmt: skip
    other = enqueue(db, "greet", {"name": "Bo"}, queue="mail", unique_key="k")
    make_one_dead(db, job)
    done = pgq("jobs", "export", "--queue", "mail", "--reveal")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["id"] for line in lines] == [other, job]
    (tmp_path / "jobs.jsonl").write_text(done.out)
    done = pgq("jobs", "import", str(tmp_path / "jobs.jsonl"), "--json")
    assert json.loads(done.out) == {"stored": 1, "left_out": 1}
    new = max(one for (one,) in db.execute("select id from pgqueue.jobs"))
    columns = "task, args, queue, priority, tags, meta, extract(epoch from timeout)::int, concurrency_key"
    assert look(db, new, columns) == ("greet", {"name": "Ada"}, "mail", 3, ["a"], {"m": 1}, 9, "c")
    assert look(db, new) == "pending"
    assert [row["action"] for row in pgq("audit", "list", "--job", str(new), "--json").items] == ["import"]


def test_an_export_without_reveal_has_no_arguments_and_cannot_be_imported(
    pgq: Pgq, db: Connection[Any], tmp_path: Path
) -> None:
    enqueue(db, "greet", {"name": "CANARY"}, meta={"m": "CANARY"}, unique_key="CANARY")
    done = pgq("jobs", "export", "--task", "greet")
    assert "CANARY" not in done.out
    (tmp_path / "jobs.jsonl").write_text(done.out)
    refused = pgq("jobs", "import", str(tmp_path / "jobs.jsonl"))
    assert (refused.code, "export with --reveal" in refused.err) == (2, True)
    (tmp_path / "jobs.jsonl").write_text("no job")
    assert "Line 1 is not a job" in pgq("jobs", "import", str(tmp_path / "jobs.jsonl")).err
    assert pgq("jobs", "import", str(tmp_path / "missing")).code == 2
    assert count(db) == 1


def test_a_queue_is_shown_moved_and_purged(pgq: Pgq, db: Connection[Any]) -> None:
    add_jobs(db, task="greet", queue="mail", count=3)
    Hand(db, ["greet"], "mail").claim(1)
    assert json.loads(pgq("queues", "show", "mail", "--json").out)["due"] == 2
    assert "running" in pgq("queues", "show", "mail").out
    assert pgq("queues", "show", "mial").code == 5
    assert "2 edited" in pgq("queues", "move", "mail", "slow").err
    assert "2 undone" in pgq("audit", "undo", "1").err
    pgq("queues", "move", "mail", "slow")
    assert "2 would delete" in pgq("queues", "purge", "slow", "--dry-run").err
    assert "2 deleted" in pgq("queues", "purge", "slow").err
    assert count(db) == 1
    assert pgq("queues", "purge", "slow", "--state", "running").code == 2


def test_a_task_is_shown_with_what_workers_have_declared(pgq: Pgq, db: Connection[Any]) -> None:
    run(
        db,
        statements.sync_tasks("shop", [{"name": "greet", "options": {"queue": "mail"}, "keep": "all"}], 60.0),
    )
    assert "mail" in pgq("tasks", "show", "greet").out
    assert json.loads(pgq("tasks", "show", "greet", "--json").out)["name"] == "greet"
    assert "did you mean greet?" in pgq("tasks", "show", "gret").err


def test_the_schema_of_a_tasks_arguments_is_printed_as_json(pgq: Pgq) -> None:
    schema = json.loads(pgq("tasks", "schema", "greet").out)
    assert schema["required"] == ["name"]
    assert schema["properties"]["times"]["type"] == "integer"
    assert "did you mean greet?" in pgq("tasks", "schema", "gret").err
