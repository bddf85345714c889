"""Tests of cursors. A cursor is the position in a lane at which the next claim begins: the position that claims had reached a moment ago.

While claims look behind, they begin at an earlier position.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgqueue.worker.claiming.cursors import LAG, START, Cursors

LANE = ("q", 0)


def test_claims_begin_at_the_position_that_they_had_reached_a_moment_ago() -> None:
    cursors = Cursors()
    assert cursors.since([LANE]) == [START]
    cursors.advance([(LANE, (100.0, 1)), (LANE, (100.0, 2))], 10.0)
    cursors.advance([(LANE, (100.0, 3))], 10.0 + LAG / 2)
    assert cursors.since([LANE]) == [START]
    assert not cursors.have_moved
    cursors.advance([(LANE, (50.0, 9))], 10.0 + 1.1 * LAG)
    assert cursors.since([LANE]) == [(100.0, 2)], (
        "the job with the earlier run_at does not move the cursor back"
    )
    assert cursors.have_moved
    cursors.advance([(LANE, (100.0, 4))], 10.0 + 2.2 * LAG)
    assert cursors.since([LANE]) == [(100.0, 3)], (
        "jobs with the same run_at have different positions because of their ids"
    )


def moved(*, to: float) -> Cursors:
    cursors = Cursors()
    for now in range(3):
        cursors.advance([(LANE, (to, 5))], float(now), exhausted=[LANE])
    return cursors


def test_claims_look_behind_until_a_claim_has_taken_all_jobs_of_the_lane() -> None:
    cursors = moved(to=1000.0)
    cursors.look_behind(100.0)
    assert cursors.since([LANE]) == [(100.0, 0)]
    cursors.advance([(LANE, (200.0, 3))], 5.0)
    assert cursors.is_looking_behind
    assert cursors.since([LANE]) == [(200.0, 3)]
    cursors.advance([(LANE, (300.0, 4))], 5.0, exhausted=[LANE])
    assert not cursors.is_looking_behind
    assert cursors.since([LANE]) == [(1000.0, 5)]


def test_claims_look_behind_until_they_have_reached_the_cursor() -> None:
    cursors = moved(to=1000.0)
    cursors.look_behind(100.0)
    cursors.advance([(LANE, (1000.0, 5))], 5.0)
    assert not cursors.is_looking_behind


def test_claims_look_behind_from_the_earlier_of_two_requested_positions() -> None:
    cursors = moved(to=1000.0)
    cursors.look_behind(100.0)
    cursors.look_behind(500.0)
    assert cursors.since([LANE]) == [(100.0, 0)]
    cursors.look_behind()
    assert cursors.since([LANE]) == [START]


def test_claims_do_not_look_behind_from_a_position_after_the_cursor_or_in_a_forgotten_lane() -> None:
    cursors = moved(to=1000.0)
    cursors.look_behind(2000.0)
    assert not cursors.is_looking_behind
    cursors.look_behind()
    cursors.forget(LANE)
    assert not cursors.is_looking_behind
    assert cursors.since([LANE]) == [START]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1000), st.booleans(), st.booleans(), st.floats(0, 0.3)),
        max_size=40,
    )
)
def test_a_cursor_never_moves_back_and_never_beyond_the_last_claimed_position(
    steps: list[tuple[int, int, bool, bool, float]],
) -> None:
    cursors = Cursors()
    names = [("q", n) for n in range(3)]
    reached, known, now = [START] * 3, [START] * 3, 1.0
    for lane, run_at, is_full, look_behind, pause in steps:
        now += pause
        if look_behind:
            cursors.look_behind(float(run_at))
        cursors.advance([(names[lane], (float(run_at), 1))], now, exhausted=() if is_full else names)
        reached[lane] = max(reached[lane], (float(run_at), 1))
        since = cursors.since(names)
        assert all(position <= end for position, end in zip(since, reached, strict=True))
        if not cursors.is_looking_behind:
            assert all(position >= before for position, before in zip(since, known, strict=True))
            known = since
