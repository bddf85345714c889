from __future__ import annotations

import pytest

from pgqueue.worker.listener import pause


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.1), (2, 0.2), (6, 2.0), (1_100, 2.0), (100_000, 2.0)]
)
def test_the_pause_grows_to_two_seconds_and_stays_there_however_long_an_outage_is(failures, seconds):
    assert pause(failures) == pytest.approx(seconds)
