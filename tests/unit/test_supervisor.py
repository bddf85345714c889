from __future__ import annotations

import pytest

from pgqueue.worker.supervisor import backoff, spread


@pytest.mark.parametrize(
    ("deaths", "least", "most"),
    [(0, 0.0, 0.5), (1, 0.5, 1.0), (2, 1.0, 2.0), (5, 8.0, 16.0), (6, 15.0, 30.0), (10_000, 15.0, 30.0)],
)
def test_who_dies_young_is_started_ever_later_and_never_as_one(deaths, least, most):
    pauses = {backoff(deaths) for _ in range(200)}
    assert all(least <= pause <= most for pause in pauses)
    assert max(pauses) - min(pauses) > (most - least) / 2


def test_limits_are_spread_by_a_tenth():
    limits = [spread(1000) for _ in range(200)]
    assert 900 <= min(limits) < 950
    assert 1050 < max(limits) <= 1100
    assert spread(1) == 1
    assert spread(None) is None
