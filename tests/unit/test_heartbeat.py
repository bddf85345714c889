"""One turn of the heartbeat after the other, without a thread and without a database."""

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
    """``renewed``: what the server answers to a renewal; ``requests``: which jobs were asked to stop."""

    def __init__(self, *, has_jobs: bool = True) -> None:
        self.cancelled: list[int] = []
        self.lost: list[int] = []
        self.asked: list[str] = []
        self.renewed: Any = 7
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

    def turn(self) -> bool:
        self.life.due.set()  # so that the turn waits for nothing
        return self._take_turn(self.life)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = BEGUN

    monkeypatch.setattr(heartbeat, "monotonic", lambda: Clock.now)
    return Clock


def test_a_turn_before_the_next_renewal_only_looks_for_cancels(clock: Any) -> None:
    beat = Scripted()
    beat.requests = [3]
    assert beat.turn()
    assert (beat.asked, beat.cancelled) == (["list_cancel_requests"], [3])
    assert beat.life.expires == BEGUN + LEASE


def test_the_lease_counts_from_the_question(clock: Any) -> None:
    beat = Scripted()
    clock.now = BEGUN + EVERY
    assert beat.turn()
    assert beat.asked == ["heartbeat", "list_cancel_requests"]
    assert beat.life.expires == clock.now + LEASE
    assert clock.now + 0.9 * EVERY <= beat.life.renew_at <= clock.now + EVERY


def test_a_renewal_that_fails_is_tried_again_sooner_and_changes_no_expiry(clock: Any) -> None:
    beat = Scripted()
    clock.now, beat.renewed = BEGUN + EVERY, ConnectionLost("cut")
    assert beat.turn()
    assert beat.life.expires == BEGUN + LEASE
    assert beat.life.renew_at < clock.now + 1
    assert beat.turn()
    assert beat.asked == ["heartbeat"], "while it fails, nothing else is asked"
    clock.now, beat.renewed = beat.life.renew_at, 7
    assert beat.turn()
    assert beat.life.expires == clock.now + LEASE


@pytest.mark.parametrize("why", ["the server says so", "the clock says so", "the worker stops"])
def test_it_ends_with_its_lease_or_its_worker(clock: Any, why: str) -> None:
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


def test_an_idle_worker_looks_for_cancels_only_when_it_is_told_of_one(clock: Any) -> None:
    beat = Scripted(has_jobs=False)
    clock.now = BEGUN + EVERY
    beat.life.renew_at = clock.now
    beat._take_turn(beat.life)
    assert beat.asked == ["heartbeat"]
    beat.turn()
    assert beat.asked == ["heartbeat", "list_cancel_requests"]


def test_a_look_that_fails_ends_no_lease(clock: Any) -> None:
    beat = Scripted()
    beat.requests = ConnectionLost("cut")
    assert beat.turn()
    assert (beat.lost, beat.cancelled) == ([], [])
