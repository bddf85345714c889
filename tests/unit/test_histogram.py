"""Histograms count each time in the bucket whose bounds contain it."""

from __future__ import annotations

import math
from itertools import pairwise
from math import frexp

from pgqueue.model.histogram import BUCKETS, EXPONENTS, UPPER_BOUNDS, folded


def bucket(seconds: float) -> int:
    times = [0] * EXPONENTS
    times[frexp(seconds)[1]] += 1
    histogram = folded(times)
    assert sum(histogram) == 1
    return len(histogram) - 1


def test_each_bucket_goes_up_to_twice_the_bound_of_the_bucket_before() -> None:
    assert len(UPPER_BOUNDS) == BUCKETS
    assert (UPPER_BOUNDS[0], UPPER_BOUNDS[-2], UPPER_BOUNDS[-1]) == (2**-13, 2.0**17, math.inf)
    assert all(upper == 2 * lower for lower, upper in pairwise(UPPER_BOUNDS[:-1]))


def test_a_time_counts_in_the_bucket_whose_upper_bound_is_the_next_one_above_it() -> None:
    for index, bound in enumerate(UPPER_BOUNDS[:-1]):
        assert bucket(math.nextafter(bound, 0)) == index
        assert bucket(bound) == index + 1


def test_times_outside_of_all_bounds_count_in_the_first_and_the_last_bucket() -> None:
    assert bucket(1e-9) == 0
    assert bucket(1e15) == BUCKETS - 1


def test_a_histogram_without_times_has_no_bucket() -> None:
    assert folded([0] * EXPONENTS) == []
