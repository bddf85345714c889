"""Where a claimer looks: urgent lanes first, every queue in its turn, behind the cursors when it must."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.errors import InvalidNameError
from pgqueue.worker.claiming.lanes import FORGET, HIGHEST, LAG, LOWEST, MANY, SHARE, START, Lanes
from pgqueue.worker.claiming.served_queues import ServedQueues, parse_queues
from pgqueue.worker.running.runner import OVERTAKEN, Waiting


def lanes_of(*queues: str) -> Lanes:
    return Lanes(ServedQueues(queues))


def test_urgent_lanes_come_first_and_queues_take_turns() -> None:
    lanes = lanes_of("a", "b", "c")
    lanes.see([("c", 0), ("b", 0), ("a", 0), ("b", -5), ("a", 9)], 0.0)
    turns = [lanes.in_turn(["a", "b", "c"]) for _ in range(3)]
    for turn in turns:
        assert [priority for _, priority in turn] == [-5, -5, -5, 0, 0, 0, 9, 9, 9]
    assert {turn[3][0] for turn in turns} == {"a", "b", "c"}
    assert lanes.in_turn(["b"]) == [("b", -5), ("b", 0), ("b", 9)]


def test_a_lane_that_waits_beyond_patience_begins_one_turn_of_many() -> None:
    lanes = lanes_of("a", "b")
    lanes.see([("a", -1), ("a", 5), ("b", 5)], 0.0)
    lanes.wait({("a", 5): 61.0, ("b", 5): 70.0, ("a", -1): 3.0, ("unknown", 1): 99.0})
    firsts = [lanes.in_turn(["a", "b"])[0] for _ in range(4 * SHARE)]
    assert [firsts.count(lane) for lane in (("a", 5), ("b", 5))] == [2, 2]
    assert all(lane[1] == -1 for lane in firsts if lane[1] != 5)
    assert all(len(turn) == len(set(turn)) == 4 for turn in [lanes.in_turn(["a", "b"]) for _ in range(SHARE)])
    assert lanes.in_turn(["b"])[0][0] == "b"
    lanes.wait({("a", 5): 59.0})
    assert {lanes.in_turn(["a", "b"])[0][1] for _ in range(2 * SHARE)} == {-1}


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
    assert [served.key(queue) for queue in ("mail", "shop.eu", "shop", "else")] == [
        "mail",
        "shop.*",
        "*",
        "*",
    ]
    assert served.place("mail") < served.place("shop.eu") < served.place("else")
    assert ServedQueues(["a"]).key("b") is None
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
    few.see([("q", n) for n in range(MANY)], 0.0)
    many.see([("q", n) for n in range(MANY + 1)], 0.0)
    few.see([("q", 0)], FORGET + 1)
    many.see([("q", 0)], FORGET + 1)
    assert (len(few), len(many)) == (MANY, 1)
    assert many.in_turn(["q"]) == [("q", 0)]


def test_claims_begin_where_they_had_come_a_moment_ago() -> None:
    lanes = lanes_of("q")
    lane = ("q", 0)
    lanes.see([lane], 0.0)
    assert lanes.since([lane]) == [START]
    lanes.advance([(lane, (100.0, 1)), (lane, (100.0, 2))], 10.0)
    lanes.advance([(lane, (100.0, 3))], 10.0 + LAG / 2)
    assert lanes.since([lane]) == [START]
    lanes.advance([(lane, (50.0, 9))], 10.0 + 1.1 * LAG)
    assert lanes.since([lane]) == [(100.0, 2)], "what came late sets no cursor back"
    lanes.advance([(lane, (100.0, 4))], 10.0 + 2.2 * LAG)
    assert lanes.since([lane]) == [(100.0, 3)], "jobs of one moment are told apart by their ids"


def test_a_sweep_goes_on_until_a_claim_is_not_filled() -> None:
    lanes = lanes_of("q")
    lane = ("q", 0)
    lanes.see([lane], 0.0)
    for now in range(3):
        lanes.advance([(lane, (1000.0, 5))], float(now), exhausted=[lane])
    lanes.sweep(100.0)
    assert lanes.since([lane]) == [(100.0, 0)]
    lanes.advance([(lane, (200.0, 3))], 5.0)
    assert lanes.sweeping
    assert lanes.since([lane]) == [(200.0, 3)]
    lanes.advance([(lane, (300.0, 4))], 5.0, exhausted=[lane])
    assert not lanes.sweeping
    assert lanes.since([lane]) == [(1000.0, 5)]


def test_a_priority_seen_in_one_queue_is_looked_for_in_all() -> None:
    lanes = lanes_of("a", "b")
    lanes.see([("a", 0), ("b", 0)], 0.0)
    assert lanes.see([("a", -9)], 0.0)
    assert sorted(lanes.in_turn(["a", "b"])) == [("a", -9), ("a", 0), ("b", -9), ("b", 0)]
    assert not lanes.see([("b", -9)], 0.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1000), st.booleans(), st.booleans(), st.floats(0, 0.3)),
        max_size=40,
    )
)
def test_a_cursor_never_goes_back_nor_beyond_what_was_claimed(
    steps: list[tuple[int, int, bool, bool, float]],
) -> None:
    lanes = lanes_of("q")
    names = [("q", n) for n in range(3)]
    lanes.see(names, 0.0)
    reached, cursors, now = [START] * 3, [START] * 3, 1.0
    for lane, run_at, full, sweep, pause in steps:
        now += pause
        if sweep:
            lanes.sweep(float(run_at))
        lanes.advance([(names[lane], (float(run_at), 1))], now, exhausted=() if full else names)
        reached[lane] = max(reached[lane], (float(run_at), 1))
        since = lanes.since(names)
        assert all(place <= end for place, end in zip(since, reached, strict=True))
        if not lanes.sweeping:
            assert all(place >= before for place, before in zip(since, cursors, strict=True))
            cursors = since
