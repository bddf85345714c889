"""Where a claimer looks: urgent lanes first, every queue in its turn, behind the cursors when it must."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.config import ServedQueues, parse_queues
from pgqueue.errors import InvalidNameError
from pgqueue.worker.lanes import FORGET, HIGHEST, LOWEST, MANY, MARGIN, Lanes


def lanes_of(*queues: str) -> Lanes:
    return Lanes(ServedQueues(queues))


def test_urgent_lanes_come_first_and_queues_take_turns() -> None:
    lanes = lanes_of("a", "b", "c")
    lanes.see([("c", 0), ("b", 0), ("a", 0), ("b", -5), ("a", 9)], 0.0)
    keys = ["a", "b", "c"]
    turns = [lanes.in_turn(keys) for _ in range(3)]
    assert {turn[0] for turn in turns} == {("b", -5)}
    assert {turn[-1] for turn in turns} == {("a", 9)}
    assert {turn[1] for turn in turns} == {("a", 0), ("b", 0), ("c", 0)}
    assert lanes.in_turn(["b"]) == [("b", -5), ("b", 0)]


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
    lanes.see([("a", 0), ("a", 1), ("a", 5)], 0.0)
    assert lanes.gaps() == [("a", LOWEST, 0), ("a", 1, 5), ("a", 5, HIGHEST), ("b", LOWEST, HIGHEST)]
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


def test_claims_begin_a_margin_behind_what_was_claimed_last() -> None:
    lanes = lanes_of("q")
    lane = ("q", 0)
    lanes.see([lane], 0.0)
    assert lanes.since([lane]) == [0.0]
    lanes.advance([(lane, 100.0), (lane, 101.0)], full=True)
    assert lanes.since([lane]) == [101.0 - MARGIN]
    lanes.advance([(lane, 50.0)], full=True)
    assert lanes.since([lane]) == [101.0 - MARGIN], "what came late does not set a cursor back"


def test_a_sweep_goes_on_until_a_claim_is_not_filled() -> None:
    lanes = lanes_of("q")
    lane = ("q", 0)
    lanes.see([lane], 0.0)
    lanes.advance([(lane, 1000.0)], full=False)
    lanes.sweep(100.0)
    assert lanes.since([lane]) == [100.0]
    lanes.advance([(lane, 200.0)], full=True)
    assert lanes.sweeping
    assert lanes.since([lane]) == [200.0 - MARGIN]
    lanes.advance([(lane, 300.0)], full=False)
    assert not lanes.sweeping
    assert lanes.since([lane]) == [1000.0 - MARGIN]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000), st.booleans(), st.booleans()), max_size=40)
)
def test_a_cursor_never_goes_back_and_a_sweep_never_looks_beyond_it(
    steps: list[tuple[int, int, bool, bool]],
) -> None:
    lanes = lanes_of("q")
    names = [("q", n) for n in range(3)]
    lanes.see(names, 0.0)
    reached = [0.0] * 3
    for lane, run_at, full, sweep in steps:
        if sweep:
            lanes.sweep(float(run_at))
        lanes.advance([(names[lane], float(run_at))], full=full)
        reached[lane] = max(reached[lane], run_at - MARGIN)
        assert all(since <= cursor for since, cursor in zip(lanes.since(names), reached, strict=True))
        if not lanes.sweeping:
            assert lanes.since(names) == reached
