"""Where a claimer looks: urgent lanes first, every queue in its turn."""

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


def test_urgent_lanes_come_first_and_queues_take_turns() -> None:
    lanes = lanes_of("a", "b", "c")
    lanes.see([("c", 0), ("b", 0), ("a", 0), ("b", -5), ("a", 9)], 0.0)
    turns = [lanes.in_order(["a", "b", "c"]) for _ in range(3)]
    for turn in turns:
        assert [priority for _, priority in turn] == [-5, -5, -5, 0, 0, 0, 9, 9, 9]
    assert {turn[3][0] for turn in turns} == {"a", "b", "c"}
    assert lanes.in_order(["b"]) == [("b", -5), ("b", 0), ("b", 9)]


def test_a_lane_that_waits_beyond_patience_begins_one_turn_of_many() -> None:
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
def test_no_attempt_is_overtaken_for_long(claims: list[tuple[int, float]]) -> None:
    """Attempts come as they are claimed; the next is always the most urgent, unless another has waited too long."""
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


def test_patterns_serve_what_fits_and_names_come_first() -> None:
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


def test_a_lane_is_looked_for_between_the_known_ones() -> None:
    lanes = lanes_of("a", "b")
    assert lanes.gaps() == [("a", LOWEST, HIGHEST), ("b", LOWEST, HIGHEST)]
    lanes.see([("a", 0), ("a", 1), ("a", 5)], 0.0)
    assert lanes.gaps()[:3] == [("a", LOWEST, 0), ("a", 1, 5), ("a", 5, HIGHEST)]
    assert lanes.see([("a", 3)], 1.0)
    assert not lanes.see([("a", 3)], 2.0)


def test_only_many_lanes_are_forgotten_when_they_stay_empty() -> None:
    few, many = lanes_of("q"), lanes_of("q")
    few.see([("q", n) for n in range(FEW_LANES)], 0.0)
    many.see([("q", n) for n in range(FEW_LANES + 1)], 0.0)
    few.see([("q", 0)], FORGET + 1)
    many.see([("q", 0)], FORGET + 1)
    assert (len(few), len(many)) == (FEW_LANES, 1)
    assert many.in_order(["q"]) == [("q", 0)]


def test_a_priority_seen_in_one_queue_is_looked_for_in_all() -> None:
    lanes = lanes_of("a", "b")
    lanes.see([("a", 0), ("b", 0)], 0.0)
    assert lanes.see([("a", -9)], 0.0)
    assert sorted(lanes.in_order(["a", "b"])) == [("a", -9), ("a", 0), ("b", -9), ("b", 0)]
    assert not lanes.see([("b", -9)], 0.0)
