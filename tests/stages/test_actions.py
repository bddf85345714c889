"""Operators' actions on jobs: what they change, what they refuse, what they write into the audit, and which roles may do them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.errors import InvalidOptionError
from tests.acting_by_hand import act, audit, everything, kill, undo
from tests.factories import add_jobs, count, enqueue, look
from tests.worker_by_hand import Hand

# ------------------------------------------------------------------ each action


def test_a_cancel_ends_jobs_that_do_not_run_and_asks_the_others_to_stop(
    db: Connection[Any], hand: Hand
) -> None:
    first, second, third = add_jobs(db, count=3)
    [running] = hand.claim(1)
    assert act(db, "cancel", [first, second, third]) == {
        first: "requested", second: "cancelled", third: "cancelled",
    }  # fmt: skip
    assert running.id == first
    [row] = audit(db)
    assert (row.actor, row.source, row.action, row.changed, row.seen) == ("ann", "cli", "cancel", 3, 3)
    assert row.about == {"ids": [first, second, third]}
    assert row.undo_until is not None


def test_a_retry_revives_dead_and_cancelled_jobs_and_refuses_all_others(
    db: Connection[Any], hand: Hand
) -> None:
    [dead] = add_jobs(db)
    kill(db, hand)
    cancelled, pending = add_jobs(db, count=2)
    act(db, "cancel", [cancelled])
    assert act(db, "retry", [dead, cancelled, pending, 999]) == {
        dead: "revived", cancelled: "revived", pending: "pending", 999: "not found",
    }  # fmt: skip
    assert audit(db)[0].refused == {"pending": 1, "not found": 1}


def test_a_retry_refuses_a_job_whose_unique_key_another_job_has(db: Connection[Any], hand: Hand) -> None:
    dead = [enqueue(db, unique_key="a"), enqueue(db, unique_key="b")]
    kill(db, hand)
    enqueue(db, unique_key="a")
    assert act(db, "retry", dead) == {dead[0]: "unique_key", dead[1]: "revived"}


def test_an_action_that_changes_nothing_writes_no_audit(db: Connection[Any]) -> None:
    assert act(db, "cancel", [999]) == {999: "not found"}
    assert audit(db) == []


def test_run_now_makes_waiting_times_shorter_and_refuses_jobs_that_wait_for_something_else(
    db: Connection[Any], hand: Hand
) -> None:
    late, due = add_jobs(db, run_at="2030-01-01")[0], add_jobs(db)[0]
    [running] = hand.claim(1)
    assert act(db, "run_now", [late, due]) == {late: "due", due: "running"}
    assert running.id == due
    assert [attempt.id for attempt in hand.claim(5)] == [late]


def test_an_edit_writes_the_names_of_secret_changes_but_not_their_values(db: Connection[Any]) -> None:
    [job] = add_jobs(db)
    changes = {"args": {"token": "s3cr3t"}, "queue": "mail", "priority": -5}
    assert act(db, "edit", [job], changes=changes) == {job: "edited"}
    assert look(db, job, "queue, priority, args") == ("mail", -5, {"token": "s3cr3t"})
    assert audit(db)[0].after == {"args": "changed", "queue": "mail", "priority": -5}


def test_a_delete_leaves_nothing_of_a_job_when_its_undo_is_given_up(db: Connection[Any], hand: Hand) -> None:
    job = enqueue(db, args={"secret": "CANARY"}, idempotency_key="k")
    act(db, "edit", [job], changes={"args": {"secret": "CANARY-2"}})
    db.execute("insert into pgqueue.signals (job_id, name, payload) values (%s, 's', '\"CANARY\"')", [job])
    kill(db, hand)
    assert act(db, "delete", [job], forget=True) == {job: "deleted"}
    assert everything(db, job) == []
    for table in ("audit", "undo_rows"):
        rows = db.execute(f"select to_jsonb(t)::text from pgqueue.{table} t".encode()).fetchall()
        assert "CANARY" not in str(rows)
    assert audit(db)[0].undo_until is None


def test_a_delete_refuses_running_jobs_and_nodes(db: Connection[Any], hand: Hand) -> None:
    [running] = add_jobs(db)
    hand.claim(1)
    [node] = add_jobs(db)
    db.execute("update pgqueue.jobs_live set workflow_id = 1 where id = %s", [node])
    assert act(db, "delete", [running, node]) == {running: "running", node: "node"}
    assert count(db) == 2


def test_an_action_with_states_leaves_a_job_that_has_another_state_by_then(
    db: Connection[Any], hand: Hand
) -> None:
    [job] = add_jobs(db)
    hand.claim(1)
    assert act(db, "cancel", [job], states=["pending"]) == {job: "running"}
    assert look(db, job, "cancel_requested") is False


@pytest.mark.parametrize(
    ("name", "ids", "options"),
    [("explode", [1], {}), ("cancel", [], {}), ("cancel", [1] * 1001, {}), ("edit", [1], {}),
     ("cancel", [1], {"changes": {"priority": 1}})],
)  # fmt: skip
def test_a_wrong_call_is_refused(db: Connection[Any], name: Any, ids: list[int], options: Any) -> None:
    with pytest.raises(InvalidOptionError):
        act(db, name, ids, **options)


# ------------------------------------------------------------------ rights


def test_an_operator_acts_and_undoes_but_cannot_change_what_the_audit_says(
    granted: Callable[..., str], db: Connection[Any], hand: Hand
) -> None:
    dead = [enqueue(db, unique_key="k", idempotency_key="i"), enqueue(db)]
    kill(db, hand)
    pending, edited = add_jobs(db, count=2)
    db.execute("insert into pgqueue.signals (job_id, name) values (%s, 'go')", [pending])
    db.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (%s, 1, 1, 'step', 'a', '7')",
        [pending],
    )
    with psycopg.connect(granted("operator"), autocommit=True) as operator:
        for name, ids, changes in (
            ("retry", dead, None), ("cancel", [pending], None), ("edit", [edited], {"priority": 3}),
            ("run_now", [edited], None), ("delete", [*dead, pending, edited], None),
        ):  # fmt: skip
            found = act(operator, name, ids, changes=changes)
            assert "undone" in undo(operator).values(), (name, found)
        act(operator, "delete", [pending], forget=True)
        rows = audit(operator)
        assert {row.role for row in rows} == {operator.info.user}
        for statement in (
            "update pgqueue.audit set actor = 'bob'", "delete from pgqueue.audit", "truncate pgqueue.audit",
            "insert into pgqueue.audit (actor, source, action, about, role) values ('a', 'cli', 'b', '{}', 'postgres')",
            "insert into pgqueue.audit (actor, source, action, about, at) values ('a', 'cli', 'b', '{}', now())",
            "update pgqueue.undo_rows set before = '{}'",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                operator.execute(statement.encode())
    assert len(rows) == 11


@pytest.mark.parametrize("kind", ["reader", "enqueuer", "worker"])
def test_no_other_role_can_write_the_audit(
    granted: Callable[..., str], db: Connection[Any], kind: str
) -> None:
    [job] = add_jobs(db)
    with psycopg.connect(granted(kind), autocommit=True) as other:
        for statement in (
            "insert into pgqueue.audit (actor, source, action, about) values ('ann', 'cli', 'pause', '{}')",
            "select pgqueue.note_action('{\"action\": \"pause\"}', '{}')",
            "update pgqueue.audit set actor = 'bob'",
            f"select * from pgqueue.act('cancel', array[{job}::bigint])",
            "insert into pgqueue.undo_rows values (1, 1, '{}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(statement.encode())
    assert look(db, job) == "pending"


def test_a_role_that_only_reads_sees_the_audit(granted: Callable[..., str], db: Connection[Any]) -> None:
    act(db, "cancel", add_jobs(db))
    with psycopg.connect(granted("reader"), autocommit=True) as reader:
        assert [row.action for row in audit(reader)] == ["cancel"]
