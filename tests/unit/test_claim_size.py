"""Tests of ``ClaimSize``, which decides how many jobs the next claim takes at most."""

from __future__ import annotations

import pytest

from pgqueue.worker.claiming.claim_size import (
    LARGEST_CLAIM,
    LONGEST_CLAIM,
    LONGEST_CLAIM_BESIDE_URGENT,
    SMALLEST_CLAIM,
    ClaimSize,
)


@pytest.mark.parametrize(
    ("claimed", "took", "has_urgent", "jobs"),
    [
        (
            SMALLEST_CLAIM - 1,
            0.0001,
            False,
            SMALLEST_CLAIM,
        ),  # the claim took too few jobs to show how long a larger claim would last
        (100, LONGEST_CLAIM, False, SMALLEST_CLAIM),
        (100, LONGEST_CLAIM / 5, False, 300),  # half of the way from 100 to 500
        (100, LONGEST_CLAIM_BESIDE_URGENT / 4, True, 250),
        (100, LONGEST_CLAIM, True, SMALLEST_CLAIM),
        (100, LONGEST_CLAIM / 1000, False, LARGEST_CLAIM),
    ],
)
def test_the_size_moves_towards_the_number_of_jobs_that_one_claim_can_take_within_its_time_limit(
    claimed, took, has_urgent, jobs
):
    size = ClaimSize()
    size.measure(claimed, took, has_urgent=has_urgent)
    assert size.jobs == jobs


def test_the_size_stays_the_same_when_a_claim_takes_exactly_as_long_as_is_allowed():
    size = ClaimSize()
    for _ in range(20):
        size.measure(size.jobs, size.jobs * LONGEST_CLAIM / 640, has_urgent=False)
    assert size.jobs == pytest.approx(640, abs=2)
    for _ in range(20):
        size.measure(size.jobs, 1.0, has_urgent=False)
    assert size.jobs == SMALLEST_CLAIM
