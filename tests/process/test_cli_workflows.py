"""``pgq workflows``: list, show, cancel and retry."""

from __future__ import annotations

import json
import re

import pytest
from psycopg import Connection

from pgqueue import App, WorkflowHandle, chain, group
from tests.command_line import on_terminal, shop
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, run_due, states

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def flows(app: App, db: Connection) -> list[WorkflowHandle]:
    """Returns three workflows: one that failed, one that completed, and one that is open."""

    @app.task(name="shop.greet")
    def greet(name: str = "") -> str:
        return name

    with app.workflow("order", key="order-7") as order:
        held = order.add(greet.job("Ada"), name="held")
        order.add(chain(greet.job(), group(greet.job() for _ in range(3)), greet.job()), after=held)
        order.add(greet.job(), name="tell", after=held, when="failed")
    run_due(db, Hand(db, ["shop.greet"]), {"greet-3": DEAD})
    done = app.enqueue_workflow(chain(greet.job(), greet.job()), name="import")
    run_due(db, Hand(db, ["shop.greet"]))
    waiting = app.enqueue_workflow(chain(greet.using(delay="1h").job(), greet.job()), name="import")
    return [order.handle, done, waiting]


def test_workflows_are_listed_newest_first_and_chosen_by_filters(pgq, flows):
    failed, done, waiting = (flow.id for flow in flows)

    def listed(*words: str) -> list[int]:
        return [item["id"] for item in pgq("workflows", "list", *words, "--json").items]

    assert listed() == [waiting, done, failed]
    assert listed("--state", "failed,completed") == [done, failed]
    assert listed("--state", "running") == [waiting]
    assert listed("--name", "import") == [waiting, done]
    assert listed("--key", "order-7") == [failed]
    assert listed("-n", "1", "--before", str(waiting)) == [done]
    page = json.loads(pgq("workflows", "list", "-n", "2", "--json").out)
    assert page["next"] == done
    row = next(item for item in page["items"] if item["id"] == done)
    assert (row["state"], row["nodes"], row["completed"], row["key"]) == ("completed", 2, 2, None)
    rows = pgq("workflows", "list").rows
    assert [row[:5] for row in rows] == [
        [str(waiting), "running", "import", "", "0 of 2"],
        [str(done), "completed", "import", "", "2 of 2"],
        [str(failed), "failed", "order", "order-7", "4 of 7"],
    ]
    wrong = pgq("workflows", "list", "--state", "fail")
    assert (wrong.code, "did you mean failed?" in wrong.err) == (2, True)
    assert "No workflow matches." in pgq("workflows", "list", "--name", "x").err


def test_a_workflow_is_shown_as_a_tree_and_as_json(pgq, flows, db):
    out = pgq("workflows", "show", str(flows[0].id)).out
    assert "\x1b" not in out
    head, tree = out.split("\n\n")
    assert "key         order-7" in head
    assert "jobs        7: 2 cancelled, 4 completed, 1 dead" in head
    lines = [re.sub(r"job \d+", "job N", line) for line in tree.splitlines()]
    assert lines == [
        "✓ held  completed  shop.greet, job N",
        "├─ ✓ greet  completed  shop.greet, job N",
        "│  ✗ group  dead  group of 3 jobs: 2 completed, 1 dead",
        "│      ├─ ✓ greet-2  completed  shop.greet, job N",
        "│      ├─ ✗ greet-3  dead  shop.greet, job N; ValueError: no",
        "│      └─ ✓ greet-4  completed  shop.greet, job N",
        "│  ⊘ greet-5  cancelled  shop.greet, job N",
        "└─ ⊘ tell  cancelled  shop.greet, job N; when failed; It was not needed, because everything that it waits for completed.",
    ]
    shown = json.loads(pgq("workflows", "show", str(flows[0].id), "--json").out)
    assert (shown["state"], shown["counts"]["dead"]) == ("failed", 1)
    assert [item["after"] for item in shown["items"] if item["name"] == "group"] == [
        ["greet-2", "greet-3", "greet-4"]
    ]


def test_a_workflow_on_a_terminal_has_colours_and_fits_into_its_width(flows, dsn, tmp_path, db):
    db.execute(
        "update pgqueue.nodes set name = 'held ' || repeat('long ', 30) || E'\\x1b[2J' where name = 'held'"
    )
    words = ["workflows", "show", str(flows[0].id)]
    narrow = on_terminal(words, shop(tmp_path), dsn, COLUMNS="40")
    assert "\x1b[31m" in narrow
    lines = ESCAPE.sub("", narrow).splitlines()
    assert max(map(len, lines)) <= 40
    assert "\x1b[2J" not in narrow
    plain = on_terminal(words, tmp_path, dsn, COLUMNS="40", NO_COLOR="1")
    assert "\x1b[31m" not in plain
    assert "✗ greet-3" in plain
    ascii_only = on_terminal(words, tmp_path, dsn, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "|- + greet" in ascii_only
    assert ascii_only.isascii()


def test_workflows_are_cancelled_by_id_or_by_filter(pgq, flows, db):
    failed, _, waiting = (str(flow.id) for flow in flows)
    dry = pgq("workflows", "cancel", "--name", "import", "--dry-run", "--json")
    assert dry.items == [{"id": int(waiting), "result": "would cancel"}]
    assert set(states(db, int(waiting)).values()) == {"pending", "waiting"}
    assert pgq("workflows", "cancel", "--name", "import").rows == [[waiting, "cancelled"]]
    assert set(states(db, int(waiting)).values()) == {"cancelled"}
    assert "No open workflow matches." in pgq("workflows", "cancel", "--name", "import").err
    ended = pgq("workflows", "cancel", failed, waiting)
    assert (ended.code, "PGQ-431  2 of 2 workflows had ended" in ended.err) == (6, True)
    missing = pgq("workflows", "cancel", "999")
    assert (missing.code, "PGQ-530  There is no workflow 999." in missing.err) == (5, True)
    assert pgq("workflows", "cancel").code == 2
    assert pgq("workflows", "cancel", failed, "--name", "order").code == 2


def test_a_workflow_is_retried_from_a_node_or_as_a_whole(pgq, flows, db):
    failed = str(flows[0].id)
    refused = pgq("workflows", "retry", failed, "greet-5")
    assert refused.code == 6
    assert "node greet-5 waits for node group, which is dead: retry group" in refused.err
    missing = pgq("workflows", "retry", failed, "x")
    assert (missing.code, f"pgq workflows show {failed}" in missing.err) == (5, True)
    assert pgq("workflows", "retry", "999").code == 5
    assert "3 nodes" in pgq("workflows", "retry", failed, "greet-3", "--dry-run").err
    assert flows[0].state() == "failed"
    assert json.loads(pgq("workflows", "retry", failed, "greet-3", "--json").out)["open"] == 3
    run_due(db, Hand(db, ["shop.greet"]))
    assert flows[0].state() == "completed"
    assert pgq("workflows", "retry", failed).code == 0


def test_a_job_that_its_workflow_does_not_let_run_again_stops_no_other_job(pgq, flows, db):
    jobs = {
        row[1]: row[0]
        for row in db.execute("select id, name from pgqueue.nodes where workflow_id = %s", [flows[0].id])
    }
    behind, dead = (str(jobs[name]) for name in ("greet-5", "greet-3"))
    reason = "node greet-5 waits for node group, which is dead: retry group"
    done = pgq("jobs", "revive", behind, dead, "--dry-run", "--json")
    assert [item["result"] for item in done.items] == [f"refused: {reason}", "would revive"]
    assert (done.code, f"1 of 2 jobs cannot be changed: job {behind}, {reason}" in done.err) == (6, True)
    done = pgq("jobs", "revive", "--task", "shop.greet", "--state", "cancelled,dead", "--dry-run")
    assert (done.code, "1 refused, 2 would revive" in done.err) == (6, True)
    pgq("jobs", "revive", behind, dead)
    assert states(db, flows[0].id)["greet-3"] == "pending"
