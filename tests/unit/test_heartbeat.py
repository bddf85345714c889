"""The tests call the rounds of the heartbeat's loop one by one, without a thread and without a database."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pgqueue.database.outage import ConnectionLost, Outage
from pgqueue.worker import heartbeat
from pgqueue.worker.heartbeat import Heartbeat, _Life

EVERY, LEASE = 5.0, 30.0
BEGUN = 1000.0


class Scripted(Heartbeat):
    """A heartbeat that gets its answers from two attributes. ``renewed``: the answer to a renewal. ``requests``: the jobs to cancel. If an answer is an exception, it is raised."""

    def __init__(self, *, has_jobs: bool = True) -> None:
        self.cancelled: list[int] = []
        self.lost: list[int] = []
        self.asked: list[str] = []
        self.renewed: Any = (7, False)
        self.requests: Any = []
        super().__init__(
            Outage(""), every=EVERY, lease=LEASE, lost=self.lost.append, cancel=self.cancelled.extend,
            has_jobs=lambda: has_jobs,
        )  # fmt: skip
        self.life = _Life(7, BEGUN + LEASE)
        self.life.renew_at = BEGUN + EVERY

    def _ask(self, life: _Life, statement: Any) -> Any:
        self.asked.append(statement.name)
        answer = self.renewed if statement.name == "heartbeat" else self.requests
        if isinstance(answer, Exception):
            raise answer
        return answer

    def play_round(self) -> bool:
        self.life.due.set()  # so that the round does not wait
        return self._take_turn(self.life)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = BEGUN

    monkeypatch.setattr(heartbeat, "monotonic", lambda: Clock.now)
    return Clock


def test_a_round_before_the_next_renewal_only_looks_for_requested_cancels(clock: Any) -> None:
    beat = Scripted()
    beat.requests = [3]
    assert beat.play_round()
    assert (beat.asked, beat.cancelled) == (["list_cancel_requests"], [3])
    assert beat.life.expires == BEGUN + LEASE


def test_a_renewed_lease_begins_at_the_moment_when_the_renewal_was_sent(clock: Any) -> None:
    beat = Scripted()
    clock.now = BEGUN + EVERY
    assert beat.play_round()
    assert beat.asked == ["heartbeat", "list_cancel_requests"]
    assert beat.life.expires == clock.now + LEASE
    assert clock.now + 0.9 * EVERY <= beat.life.renew_at <= clock.now + EVERY


def test_a_renewal_that_fails_is_repeated_soon_and_does_not_change_when_the_lease_runs_out(
    clock: Any,
) -> None:
    beat = Scripted()
    clock.now, beat.renewed = BEGUN + EVERY, ConnectionLost("cut")
    assert beat.play_round()
    assert beat.life.expires == BEGUN + LEASE
    assert beat.life.renew_at < clock.now + 1
    assert beat.play_round()
    assert beat.asked == ["heartbeat"], "the heartbeat does not look for cancels as long as the renewal fails"
    clock.now, beat.renewed = beat.life.renew_at, (7, False)
    assert beat.play_round()
    assert beat.life.expires == clock.now + LEASE


@pytest.mark.parametrize("why", ["the server says so", "the clock says so", "the worker stops"])
def test_the_heartbeat_ends_when_the_lease_is_lost_or_the_worker_stops(clock: Any, why: str) -> None:
    beat = Scripted()
    if why == "the server says so":
        clock.now, beat.renewed = BEGUN + EVERY, None
    elif why == "the clock says so":
        clock.now = math.nextafter(BEGUN + LEASE, math.inf)
    else:
        beat.life.stopped.set()
    beat.life.due.set()
    beat._keep(beat.life)
    assert beat.lost == ([] if why == "the worker stops" else [7])
    assert beat.asked == (["heartbeat"] if why == "the server says so" else [])


def test_a_worker_without_jobs_looks_for_cancels_only_after_a_notification(clock: Any) -> None:
    beat = Scripted(has_jobs=False)
    clock.now = BEGUN + EVERY
    beat.life.renew_at = clock.now
    beat._take_turn(beat.life)
    assert beat.asked == ["heartbeat"]
    beat.play_round()
    assert beat.asked == ["heartbeat", "list_cancel_requests"]


def test_the_lease_does_not_end_if_the_heartbeat_fails_to_look_for_cancels(clock: Any) -> None:
    beat = Scripted()
    beat.requests = ConnectionLost("cut")
    assert beat.play_round()
    assert (beat.lost, beat.cancelled) == ([], [])
