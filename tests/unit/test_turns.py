"""Tests of the plan of claims: which lanes are claimed separately, and in which order the claims are made."""

from __future__ import annotations

from pgqueue.worker.claiming.served_queues import ServedQueues
from pgqueue.worker.claiming.turns import PlannedClaim, Turns

PLAIN = [("a", -1), ("b", -1), ("a", 5)]


def turns(*served: str) -> Turns:
    return Turns(ServedQueues(served or ("a", "b")))


def ways(plans: list[PlannedClaim]) -> list[tuple[str, list[tuple[str, int]]]]:
    return [(plan.way, plan.lanes) for plan in plans]


def test_without_keys_and_limits_all_lanes_are_claimed_together():
    assert ways(turns().plan(PLAIN, ["a", "b"])) == [("together", PLAIN)]
    assert turns().plan([], ["a", "b"]) == []


def test_a_lane_under_a_limit_is_claimed_separately():
    some, every = turns(), turns()
    some.see({}, ["b"])
    assert ways(some.plan(PLAIN, ["a", "b"])) == [
        ("together", [("a", -1)]),
        ("limited", [("b", -1)]),
        ("together", [("a", 5)]),
    ]
    every.see({}, [None])
    assert ways(every.plan(PLAIN, ["a", "b"])) == [("limited", [lane]) for lane in PLAIN]


def test_claims_by_turns_and_other_claims_of_the_same_priority_alternately_come_first():
    known = turns()
    known.see({("a", 0): "f", ("b", 5): "f", ("b", 9): "f"}, [])
    first, second = (ways(known.plan(PLAIN, ["a", "b"])) for _ in range(2))
    assert [lanes for _, lanes in first] == [PLAIN[:2], [("a", 0)], [("b", 5)], [("a", 5)], [("b", 9)]]
    assert [lanes for _, lanes in second] == [PLAIN[:2], [("a", 0)], [("a", 5)], [("b", 5)], [("b", 9)]]
    assert [way for way, _ in second] == ["together", "in turns", "together", "in turns", "in turns"]
    assert ways(known.plan([], ["a"])) == [("in turns", [("a", 0)])]


def test_the_next_claim_by_turns_goes_on_after_the_key_whose_turn_was_last():
    known = turns()
    assert known.see({("a", 0): "front 1"}, [])
    assert known.resume(("a", 0)) == ("", "front 1")
    known.note_turn(("a", 0), "k7", "front 2")
    assert known.resume(("a", 0)) == ("k7", "front 2")
    assert not known.see({("a", 0): "front 1"}, []), (
        "the lane was known before. Its front moves back, because a job has committed late"
    )
    assert known.resume(("a", 0)) == ("k7", "front 1")
    known.see({}, [])
    assert known.resume(("a", 0)) == ("", None)
    known.note_turn(("a", 0), "k8", "front 3")
    assert (len(known), known.resume(("a", 0))) == (0, ("", None))


def test_a_lane_of_a_queue_that_is_not_served_is_ignored():
    known = turns("a")
    assert not known.see({("b", 0): "f"}, [])
    assert len(known) == 0
