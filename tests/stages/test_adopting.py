"""``pgq adopt`` moves waiting jobs of procrastinate and pgqueuer, keeps what they promise, and gives them back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from tests.command_line import Done

procrastinate = pytest.importorskip("procrastinate")
Pgq = Callable[..., Done]
THEIRS = "select id, queue_name, task_name, priority, lock, queueing_lock, args, status::text, scheduled_at, attempts from procrastinate_jobs order by id"
OURS = """
select task, queue, priority, args, unique_key, concurrency_key, ordering, attempt, (meta -> 'adopted' ->> 'id')::int, run_at
from pgqueue.jobs where meta ? 'adopted' order by 9
"""


@pytest.fixture
def theirs(dsn: str, db: Connection[Any]) -> Connection[Any]:
    """Returns a connection to a database in which procrastinate is installed, too."""
    from procrastinate.schema import SchemaManager

    db.execute(SchemaManager.get_schema().encode())
    return db


@pytest.fixture
def pgqueuer(dsn: str, db: Connection[Any]) -> Connection[Any]:
    queries = pytest.importorskip("pgqueuer.queries")
    asyncpg = pytest.importorskip("asyncpg")

    async def install() -> None:
        connection = await asyncpg.connect(dsn)
        await queries.Queries.from_asyncpg_connection(connection).install()
        await connection.close()

    asyncio.run(install())
    return db


def defer(db: Connection[Any], **values: object) -> int:
    values = {"queue_name": "mail", "task_name": "shop.send", "args": '{"n": 1}', **values}
    columns = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    [(job_id,)] = db.execute(
        f"insert into procrastinate_jobs ({columns}) values ({marks}) returning id".encode(),
        list(values.values()),
    )
    return int(job_id)


def test_waiting_jobs_of_procrastinate_are_moved_with_all_that_they_promise_and_given_back(
    theirs: Connection[Any], pgq: Pgq
) -> None:
    first = defer(theirs, priority=5, attempts=2, scheduled_at="2030-01-01 00:00+00")
    second = defer(theirs, lock="account:7", queueing_lock="once", priority=-3)
    running = defer(theirs, status="doing", lock="busy")
    held = defer(theirs, lock="busy")
    odd = defer(theirs, queue_name="two words")
    before = theirs.execute(THEIRS).fetchall()

    dry = json.loads(pgq("adopt", "procrastinate", "--allow-unknown", "--dry-run", "--json").out)
    assert theirs.execute(THEIRS).fetchall() == before
    assert theirs.execute(OURS).fetchall() == []
    done = json.loads(
        pgq("adopt", "procrastinate", "--map", "shop.send=mail.send", "--allow-unknown", "--json").out
    )
    assert dry["moved"] == done["moved"] == {"shop.send": 2}
    assert [one["id"] for one in done["left"]] == [held, odd]
    assert "has its lock" in done["left"][0]["reason"]
    assert "two words" in done["left"][1]["reason"]

    rows = theirs.execute(OURS).fetchall()
    assert rows[0][:-1] == ("mail.send", "mail", -5, {"n": 1}, None, None, None, 2, first)
    assert f"{rows[0][-1]:%Y}" == "2030"
    assert rows[1][:-1] == ("mail.send", "mail", 3, {"n": 1}, "once", "account:7", "skip", 0, second)
    states = {row[0]: row[7] for row in theirs.execute(THEIRS)}
    assert states == {first: "cancelled", second: "cancelled", running: "doing", held: "todo", odd: "todo"}
    assert json.loads(pgq("adopt", "procrastinate", "--allow-unknown", "--json").out)["moved"] == {}

    assert json.loads(pgq("adopt", "procrastinate", "--undo", "--json").out)["moved"] == {"mail.send": 2}
    assert theirs.execute(THEIRS).fetchall() == before
    assert theirs.execute(OURS).fetchall() == []


def test_only_what_has_not_started_is_given_back_and_a_row_that_is_gone_keeps_its_job(
    theirs: Connection[Any], pgq: Pgq
) -> None:
    ids = [defer(theirs) for _ in range(4)]
    taken = defer(theirs, queueing_lock="k")
    assert pgq("adopt", "procrastinate", "--allow-unknown").code == 0
    theirs.execute(
        "update pgqueue.jobs_live set started_at = now() where (meta -> 'adopted' ->> 'id')::int = %s",
        [ids[0]],
    )
    theirs.execute("delete from procrastinate_jobs where id = %s", [ids[1]])
    newer = defer(theirs, queueing_lock="k")
    done = json.loads(pgq("adopt", "procrastinate", "--undo", "--json").out)
    assert done["moved"] == {"shop.send": 2}
    assert done["left"][0]["reason"] == "its row in the other system is gone or was changed"
    assert "queueing_lock" in done["left"][1]["reason"]
    assert [row[8] for row in theirs.execute(OURS)] == [ids[0], ids[1], taken]
    assert [row[0] for row in theirs.execute(THEIRS) if row[7] == "todo"] == [ids[2], ids[3], newer]
    acts = json.loads(pgq("audit", "list", "--json").out)["items"]
    assert {one["action"]: one["undo_until"] for one in acts} == {"delete": None, "import": None}, (
        "an undo would make a job twice"
    )
    assert pgq("audit", "list").code == 0


def test_a_job_that_another_session_has_locked_is_left_and_waits_for_nothing(
    theirs: Connection[Any], dsn: str, pgq: Pgq
) -> None:
    defer(theirs)
    locked = defer(theirs)
    with psycopg.connect(dsn) as worker:
        worker.execute("select from procrastinate_jobs where id = %s for update", [locked])
        assert json.loads(pgq("adopt", "procrastinate", "--allow-unknown", "--json").out)["moved"] == {
            "shop.send": 1
        }
    assert json.loads(pgq("adopt", "procrastinate", "--allow-unknown", "--json").out)["moved"] == {
        "shop.send": 1
    }


def test_a_row_that_pgqueue_refuses_does_not_hold_up_the_others(theirs: Connection[Any], pgq: Pgq) -> None:
    ids = [defer(theirs, queueing_lock="x" * 300 if n == 3 else None) for n in range(7)]
    theirs.execute("insert into pgqueue.jobs (task, unique_key) values ('shop.send', 'u')")
    same = defer(theirs, queueing_lock="u")
    done = json.loads(pgq("adopt", "procrastinate", "--allow-unknown", "--json").out)
    assert done["moved"] == {"shop.send": 6}
    assert {one["id"] for one in done["left"]} == {ids[3], same}
    assert "the same unique key" in next(one["reason"] for one in done["left"] if one["id"] == same)


def test_jobs_of_pgqueuer_are_moved_and_given_back(pgqueuer: Connection[Any], pgq: Pgq) -> None:
    insert = """
        insert into pgqueuer (priority, execute_after, status, entrypoint, dedupe_key, payload, headers, attempts)
        values (%s, '2030-01-01', %s, 'send', %s, %s, %s, %s) returning id
    """
    rows: list[tuple[object, ...]] = [
        (9, "queued", "d", b'{"n": 1}', '{"trace": "x"}', 1),
        (0, "queued", None, None, None, 0),
        (0, "queued", None, b"plain", None, 0),
        (0, "queued", None, b"\xff", None, 0),
        (0, "picked", None, b"{}", None, 0),
    ]
    ids = [pgqueuer.execute(insert, row).fetchone()[0] for row in rows]  # type: ignore[index]
    columns = "select id, priority, execute_after, status, entrypoint, dedupe_key, payload, headers, attempts from pgqueuer order by id"
    before = pgqueuer.execute(columns).fetchall()
    done = json.loads(pgq("adopt", "pgqueuer", "--allow-unknown", "--json", "--queue", "mail").out)
    assert done["moved"] == {"send": 2}
    assert [one["id"] for one in done["left"]] == ids[2:4]
    assert "--payload-as" in done["left"][0]["reason"]
    found = pgqueuer.execute(OURS).fetchall()
    assert found[0][:-1] == ("send", "mail", -9, {"n": 1}, "d", None, None, 1, ids[0])
    assert found[1][3] == {}
    done = json.loads(pgq("adopt", "pgqueuer", "--allow-unknown", "--json", "--payload-as", "text").out)
    assert done["moved"] == {"send": 1}
    assert [row[3] for row in pgqueuer.execute(OURS)][2] == {"text": "plain"}
    assert [row[0] for row in pgqueuer.execute(columns)] == ids[3:]
    assert json.loads(pgq("adopt", "pgqueuer", "--undo", "--json").out)["moved"] == {"send": 3}
    assert pgqueuer.execute(columns).fetchall() == before
    statuses = pgqueuer.execute(
        "select status::text from pgqueuer_log where job_id = %s order by id", [ids[0]]
    ).fetchall()
    assert statuses == [("deleted",), ("queued",)]


def test_bad_calls_are_refused_in_a_sentence_and_move_nothing(theirs: Connection[Any], pgq: Pgq) -> None:
    defer(theirs, task_name="other.task")
    defer(theirs, task_name="hello")
    unknown = pgq("adopt", "procrastinate")
    assert unknown.code == 2
    assert "other.task" in unknown.err
    for words, says in {
        ("--map", "a"): "is not OLD=NEW",
        ("--table", "nowhere.jobs"): "has no table nowhere.jobs",
        ("--table", "pgqueue.jobs"): "is not that of a version",
        ("--queue", "two words"): "cannot name a queue",
        ("--follow", "--dry-run"): "exclude each other",
    }.items():
        done = pgq("adopt", "procrastinate", *words)
        assert done.code == 2, words
        assert says in " ".join(done.err.split()), done.err
        assert "Traceback" not in done.err
    assert "has no table pgqueuer" in pgq("adopt", "pgqueuer").err
    assert [row[7] for row in theirs.execute(THEIRS)] == ["todo", "todo"]
    theirs.execute("create schema second; create table second.procrastinate_jobs ()")
    assert "several tables" in pgq("adopt", "procrastinate").err


PAGES = Path(__file__).parents[2] / "docs/moving"


@pytest.mark.parametrize("system", ["procrastinate", "pgqueuer"])
def test_the_programs_of_the_pages_store_the_same_job(
    system: str, dsn: str, request: pytest.FixtureRequest, pgq: Pgq
) -> None:
    db: Connection[Any] = request.getfixturevalue("theirs" if system == "procrastinate" else "pgqueuer")
    before, after = re.findall(r"```python\n(.*?)```", (PAGES / f"{system}.md").read_text(), re.DOTALL)
    exec(compile(before, f"{system}.md", "exec", dont_inherit=True), {})
    app = {}  # type: dict[str, Any]
    exec(compile(after, f"{system}.md", "exec", dont_inherit=True), app)
    app["app"].close()
    queue = () if system == "procrastinate" else ("--queue", "mail")
    assert json.loads(pgq("adopt", system, "--allow-unknown", "--json", *queue).out)["moved"] == {
        "shop.send_receipt": 1
    }
    rows = db.execute("select queue, task, args, priority, state from pgqueue.jobs").fetchall()
    assert rows == [("mail", "shop.send_receipt", {"order_id": 7}, -5, "pending")] * 2
