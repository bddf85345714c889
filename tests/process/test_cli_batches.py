"""``pgq batches``: its output, the rows it changes, and its exit codes."""

from __future__ import annotations

import json

import pytest

from tests.batches import FOLLOW_UPS, overview, store, violations
from tests.worker_by_hand import Hand
from tests.workflows import DEAD


@pytest.fixture(autouse=True)
def _consistent(db):
    yield
    assert violations(db) == {}


def test_batches_are_listed_by_state_and_name_and_page_by_page(pgq, db):
    assert "No batch matches." in pgq("batches", "list").err
    first, second, third = store(db, 3), store(db, 0, name="other"), store(db, 0, open=True)
    hand = Hand(db, ["t"])
    hand.settle(hand.claim(1)[0], DEAD)
    listed = pgq("batches", "list").rows
    assert [row[:3] for row in listed] == [
        [str(third), "open", "import"], [str(second), "completed", "other"], [str(first), "running", "import"],
    ]  # fmt: skip
    item = pgq("batches", "list", "--state", "running", "--json").items[0]
    assert (item["id"], item["jobs"], item["unfinished"], item["failed"]) == (first, 3, 2, 1)
    assert [item["id"] for item in pgq("batches", "list", "--name", "other", "--json").items] == [second]
    assert [item["id"] for item in pgq("batches", "list", "--before", str(second), "--json").items] == [first]
    wrong = pgq("batches", "list", "--state", "runing")
    assert (wrong.code, "running" in wrong.err) == (2, True)


def test_a_batch_is_shown_with_the_states_of_its_jobs_and_the_jobs_that_followed(pgq, db):
    running, ended = store(db, 2, key="k"), store(db, 0, **FOLLOW_UPS)
    Hand(db, ["t"]).claim(1)
    said = pgq("batches", "show", str(running)).out
    assert all(word in said for word in ("import", "running", "pending", "created_at"))
    found = json.loads(pgq("batches", "show", str(ended), "--json").out)
    assert [(f["name"], f["state"]) for f in found["follow_ups"]] == [
        ("on_success", "pending"),
        ("on_end", "pending"),
    ]
    assert "on_success" in pgq("batches", "show", str(ended)).out


def test_a_batch_is_sealed_cancelled_and_retried(pgq, db):
    batch = store(db, 2, open=True, **FOLLOW_UPS)
    assert pgq("batches", "seal", str(batch)).err.split()[0] == "sealed"
    again = pgq("batches", "seal", str(batch))
    assert (again.code, "PGQ-440" in again.err) == (6, True)
    assert json.loads(pgq("batches", "cancel", str(batch), "--json").out) == {
        "id": batch,
        "result": "cancelled",
    }
    assert "it had ended before" in pgq("batches", "cancel", str(batch)).err
    assert json.loads(pgq("batches", "retry", str(batch), "--json").out) == {"id": batch, "retried": 2}
    assert overview(db, batch) == "running"
    assert "0 jobs" in pgq("batches", "retry", str(batch)).err
    assert json.loads(pgq("batches", "seal", str(store(db, 0, open=True)), "--json").out)["result"] == "ended"


@pytest.mark.parametrize("verb", ["show", "cancel", "retry", "seal"])
def test_a_batch_that_does_not_exist_is_named(pgq, verb):
    done = pgq("batches", verb, "99")
    assert (done.code, "PGQ-540" in done.err, "99" in done.err) == (5, True, True)
