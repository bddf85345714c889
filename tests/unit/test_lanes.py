"""Tests of the order in which a claimer scans the lanes. More urgent lanes come first, and the queues of one priority alternate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.errors import InvalidNameError
from pgqueue.worker.claiming.lanes import FEW_LANES, FORGET, HIGHEST, LOWEST, OVERDUE_SHARE, Lanes
from pgqueue.worker.claiming.served_queues import ServedQueues, parse_queues
from pgqueue.worker.running.waiting import OVERTAKEN, Waiting


def lanes_of(*queues: str) -> Lanes:
    return Lanes(ServedQueues(queues))


def test_more_urgent_lanes_come_first_and_queues_of_one_priority_alternate() -> None:
    lanes = lanes_of("a", "b", "c")
    lanes.see([("c", 0), ("b", 0), ("a", 0), ("b", -5), ("a", 9)], 0.0)
    turns = [lanes.in_order(["a", "b", "c"]) for _ in range(3)]
    for turn in turns:
        assert [priority for _, priority in turn] == [-5, -5, -5, 0, 0, 0, 9, 9, 9]
    assert {turn[3][0] for turn in turns} == {"a", "b", "c"}
    assert lanes.in_order(["b"]) == [("b", -5), ("b", 0), ("b", 9)]


def test_a_lane_whose_jobs_have_been_due_for_longer_than_patience_comes_first_in_some_claims() -> None:
    lanes = lanes_of("a", "b")
    lanes.see([("a", -1), ("a", 5), ("b", 5)], 0.0)
    lanes.note_waits({("a", 5): 61.0, ("b", 5): 70.0, ("a", -1): 3.0, ("unknown", 1): 99.0})
    firsts = [lanes.in_order(["a", "b"])[0] for _ in range(4 * OVERDUE_SHARE)]
    assert [firsts.count(lane) for lane in (("a", 5), ("b", 5))] == [2, 2]
    assert all(lane[1] == -1 for lane in firsts if lane[1] != 5)
    assert all(
        len(turn) == len(set(turn)) == 4
        for turn in [lanes.in_order(["a", "b"]) for _ in range(OVERDUE_SHARE)]
    )
    assert lanes.in_order(["b"])[0][0] == "b"
    lanes.note_waits({("a", 5): 59.0})
    assert {lanes.in_order(["a", "b"])[0][1] for _ in range(2 * OVERDUE_SHARE)} == {-1}


@given(st.lists(st.tuples(st.integers(-2, 2), st.floats(0, 3)), min_size=1, max_size=30))
def test_no_claimed_attempt_is_overtaken_for_long(claims: list[tuple[int, float]]) -> None:
    """Attempts are added in the order of their claims. The most urgent attempt runs next, unless another attempt has waited too long."""
    waiting = Waiting()
    left = [
        SimpleNamespace(priority=priority, claimed_at=at)
        for priority, at in sorted(claims, key=lambda c: c[1])
    ]
    for attempt in left:
        waiting.append(attempt)  # type: ignore[arg-type]
    while waiting:
        taken: Any = waiting.popleft()
        left.remove(taken)
        assert not any(
            a.claimed_at < taken.claimed_at - OVERTAKEN and a.priority > taken.priority for a in left
        )
        same = [a for a in left if a.priority == taken.priority]
        assert all(a.claimed_at >= taken.claimed_at for a in same)
        first = min(left, key=lambda a: (a.priority, a.claimed_at), default=taken)
        assert first.priority >= taken.priority or first.claimed_at - OVERTAKEN > taken.claimed_at


def test_a_queue_is_served_by_its_listed_name_or_else_by_the_first_pattern_that_fits() -> None:
    served = ServedQueues(parse_queues("mail:3,shop.*,*"))
    assert [served.serving_name(queue) for queue in ("mail", "shop.eu", "shop", "else")] == [
        "mail",
        "shop.*",
        "*",
        "*",
    ]
    assert served.rank("mail") < served.rank("shop.eu") < served.rank("else")
    assert ServedQueues(["a"]).serving_name("b") is None
    with pytest.raises(InvalidNameError):
        parse_queues("shop .*")


def test_new_lanes_are_looked_for_in_the_gaps_between_the_known_lanes() -> None:
    lanes = lanes_of("a", "b")
    assert lanes.gaps() == [("a", LOWEST, HIGHEST), ("b", LOWEST, HIGHEST)]
    lanes.see([("a", 0), ("a", 1), ("a", 5)], 0.0)
    assert lanes.gaps()[:3] == [("a", LOWEST, 0), ("a", 1, 5), ("a", 5, HIGHEST)]
    assert lanes.see([("a", 3)], 1.0)
    assert not lanes.see([("a", 3)], 2.0)


def test_lanes_that_stay_empty_are_forgotten_only_if_there_are_many_lanes() -> None:
    few, many = lanes_of("q"), lanes_of("q")
    few.see([("q", n) for n in range(FEW_LANES)], 0.0)
    many.see([("q", n) for n in range(FEW_LANES + 1)], 0.0)
    few.see([("q", 0)], FORGET + 1)
    many.see([("q", 0)], FORGET + 1)
    assert (len(few), len(many)) == (FEW_LANES, 1)
    assert many.in_order(["q"]) == [("q", 0)]


def test_a_priority_that_was_found_in_one_queue_is_looked_for_in_all_queues() -> None:
    lanes = lanes_of("a", "b")
    lanes.see([("a", 0), ("b", 0)], 0.0)
    assert lanes.see([("a", -9)], 0.0)
    assert sorted(lanes.in_order(["a", "b"])) == [("a", -9), ("a", 0), ("b", -9), ("b", 0)]
    assert not lanes.see([("b", -9)], 0.0)
