"""Histograms of times, whose buckets are bounded by powers of two. Does no I/O.

This is the place in Python that says what the buckets mean (in the SQL, it is functions/quantiles.sql). ``UPPER_BOUNDS`` has the upper bound
of each bucket in seconds: the first bucket counts the times below 2^-13 s (0.12 ms), each further bucket goes up to twice the former
bound, and the last bucket counts all times from 2^17 s (36 h) on.

Powers of two are cheap: ``math.frexp`` finds the exponent of a time in 60 ns, without a search among bounds. While times are counted, they
are counted by exponent, in a list of EXPONENTS numbers. A negative exponent counts at the end of this list, because Python reads a
negative index from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BUCKETS = 32
LOWEST = -13  # the times of the first bucket are below 2 to this power of a second
EXPONENTS = 128  # more than the exponents of all times between two clocks
UPPER_BOUNDS = (*(2.0 ** (LOWEST + i) for i in range(BUCKETS - 1)), math.inf)


def folded(times: Sequence[int]) -> list[int]:
    """Returns the histogram of times that were counted by exponent. Leaves out the buckets after the last one that counts any time."""
    buckets = [0] * BUCKETS
    for index, count in enumerate(times):
        if count:
            exponent = index if index < EXPONENTS // 2 else index - EXPONENTS
            buckets[min(max(exponent - LOWEST, 0), BUCKETS - 1)] += count
    while buckets and not buckets[-1]:
        buckets.pop()
    return buckets
