"""The words of ``pgq bench``: what the figures mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgqueue.ui.bench.figures import MEANS, Figures, quantile

NEAR = Figures(
    round_trip_ms=0.1, commit_ms=0.2, enqueue_per_second=1500, enqueue_many_per_second=40_000, worker_per_second=20_000,
    cpu_share=0.9, pickup_p50_ms=2.0, pickup_p99_ms=4.0, jobs=100_000, seconds=20.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("figures", "enqueue", "worker"),
    [
        (NEAR, "CPU of this machine", "CPU of this machine"),
        (replace(NEAR, commit_ms=8.1, enqueue_per_second=110, cpu_share=0.3), "fsync", "fsync"),
        (replace(NEAR, round_trip_ms=20, commit_ms=22, enqueue_per_second=40, cpu_share=0.1), "round trip", "round trip"),
        (replace(NEAR, round_trip_ms=2, commit_ms=3, enqueue_per_second=60, cpu_share=0.3), "server", "server"),
    ],
)  # fmt: skip
def test_the_limit_is_what_takes_most_of_the_time(figures, enqueue, worker):
    assert (figures.enqueue_limit, figures.worker_limit) == (enqueue, worker)
    said = " ".join(figures.sentences())
    assert MEANS[enqueue] in said
    assert MEANS[worker] in said


def test_the_jobs_of_a_day_are_those_at_half_of_the_rate():
    assert NEAR.jobs_a_day == 864_000_000
    assert "860,000,000 jobs a day" in NEAR.sentences()[0]
    assert "43 jobs" in replace(NEAR, worker_per_second=0.001).sentences()[0]


def test_no_rate_is_no_error():
    stuck = replace(NEAR, enqueue_per_second=0.0, worker_per_second=0.0, commit_ms=0.05)
    assert stuck.fsync_ms == 0
    assert stuck.as_dict()["jobs_a_day"] == 0
    assert stuck.rows()


def test_a_quantile_is_a_value_that_was_measured():
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0, 0.5, 0.99, 1)] == [1.0, 2.0, 3.0, 3.0]
    assert quantile([], 0.5) == 0
