"""Tests of ``InFlight``: the attempts that a worker has, and the number of jobs that it can still claim."""

from __future__ import annotations

from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.in_flight import InFlight
from tests.unit.fake_link import claimed_row


def attempts(*job_ids: int, queue: str = "default") -> list[Attempt]:
    return [Attempt(1, claimed_row(job_id, queue)) for job_id in job_ids]


def test_the_room_is_the_slots_plus_the_jobs_to_claim_ahead_minus_the_attempts():
    held = InFlight(3, {"default": None})
    assert (held.room(0), held.room(2)) == (3, 5)
    held.add(attempts(1, 2, 3, 4))
    assert (len(held), held.room(0), held.room(2)) == (4, 0, 1)
    held.remove(list(held.attempts.values())[:2])
    assert (sorted(held.attempts), held.room(0)) == ([3, 4], 1)


def test_a_queue_or_pattern_with_a_number_of_slots_counts_only_its_attempts():
    held = InFlight(10, {"mail": 2, "shop.*": 1, "default": None})
    held.add(attempts(1, queue="mail") + attempts(2, queue="shop.eu") + attempts(3, 4))
    assert [held.queue_room(queue) for queue in ("mail", "shop.eu", "shop.us", "default", "other")] == [
        1, 0, 0, None, None,
    ]  # fmt: skip
    held.remove([held.attempts[2], held.attempts[3]])
    assert (held.queue_room("shop.us"), held.room(0)) == (1, 8)


def test_an_attempt_that_is_removed_twice_is_counted_once():
    held = InFlight(5, {"default": 3})
    [attempt] = attempts(1)
    held.add([attempt])
    held.remove([attempt, attempt])
    held.remove(attempts(1))
    assert (len(held), held.queue_room("default")) == (0, 3)


def test_a_later_attempt_of_the_same_job_replaces_the_former_attempt_which_is_then_lost():
    ended: list[Attempt] = []
    held = InFlight(5, {"default": 3}, ended.extend)
    [former], [later] = attempts(1), attempts(1)
    held.add([former])
    held.add([later])
    assert (ended, held.attempts) == ([former], {1: later})
    held.remove([former])
    assert (len(held), held.queue_room("default")) == (1, 2)
