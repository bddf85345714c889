"""A worker without room still claims a few jobs, if they are more urgent than the jobs that it has."""

from __future__ import annotations

from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.urgent_allowance import URGENT_JOBS, UrgentAllowance
from tests.unit.fake_link import claimed_row

LANES = [("q", -5), ("q", 0), ("q", 3)]


def filled_with(*priorities: int) -> UrgentAllowance:
    allowance = UrgentAllowance()
    allowance.note_ordinary_claim([Attempt(1, claimed_row(n, priority=n)) for n in priorities])
    return allowance


def test_only_lanes_that_are_more_urgent_than_some_job_of_a_full_worker_are_claimed():
    assert UrgentAllowance().more_urgent(LANES) == [("q", -5)]
    assert filled_with(-5, 0, 3).more_urgent(LANES) == [("q", -5), ("q", 0)]
    assert filled_with(-5).more_urgent(LANES) == []


def test_an_empty_claim_does_not_change_which_lanes_are_more_urgent():
    allowance = filled_with(3)
    allowance.note_ordinary_claim([])
    assert allowance.more_urgent(LANES) == [("q", -5), ("q", 0)]


def test_the_allowance_is_used_up_until_the_next_ordinary_claim():
    allowance = filled_with(3)
    allowance.spend(URGENT_JOBS - 1)
    assert (allowance.left, bool(allowance.more_urgent(LANES))) == (1, True)
    allowance.spend(1)
    assert allowance.more_urgent(LANES) == []
    allowance.renew()
    assert (allowance.left, bool(allowance.more_urgent(LANES))) == (URGENT_JOBS, True)
