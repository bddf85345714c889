"""How many jobs a claim may take."""

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
        (SMALLEST_CLAIM - 1, 0.0001, False, SMALLEST_CLAIM),  # too few to tell
        (100, LONGEST_CLAIM, False, SMALLEST_CLAIM),
        (100, LONGEST_CLAIM / 5, False, 300),  # half the way to 500
        (100, LONGEST_CLAIM_BESIDE_URGENT / 4, True, 250),
        (100, LONGEST_CLAIM, True, SMALLEST_CLAIM),
        (100, LONGEST_CLAIM / 1000, False, LARGEST_CLAIM),
    ],
)
def test_a_claim_moves_the_size_to_what_fits_into_its_time(claimed, took, has_urgent, jobs):
    size = ClaimSize()
    size.measure(claimed, took, has_urgent=has_urgent)
    assert size.jobs == jobs


def test_the_size_settles_where_a_claim_lasts_as_long_as_it_may():
    size = ClaimSize()
    for _ in range(20):
        size.measure(size.jobs, size.jobs * LONGEST_CLAIM / 640, has_urgent=False)
    assert size.jobs == pytest.approx(640, abs=2)
    for _ in range(20):
        size.measure(size.jobs, 1.0, has_urgent=False)
    assert size.jobs == SMALLEST_CLAIM
