"""Which jobs are claimed although there is no room."""

from __future__ import annotations

from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.urgent_allowance import URGENT_JOBS, UrgentAllowance
from tests.unit.fake_link import claimed_row

LANES = [("q", -5), ("q", 0), ("q", 3)]


def filled_with(*priorities: int) -> UrgentAllowance:
    allowance = UrgentAllowance()
    allowance.note_ordinary_claim([Attempt(1, claimed_row(n, priority=n)) for n in priorities])
    return allowance


def test_only_lanes_more_urgent_than_the_jobs_that_fill_the_worker_pass_them():
    assert UrgentAllowance().more_urgent(LANES) == [("q", -5)]
    assert filled_with(-5, 0, 3).more_urgent(LANES) == [("q", -5), ("q", 0)]
    assert filled_with(-5).more_urgent(LANES) == []


def test_a_claim_of_nothing_says_nothing_of_what_fills_the_worker():
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
