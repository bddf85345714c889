"""Tests of ``LateCommits``, which decides when claims look behind the cursors of the lanes.

From time to time, a watch lists the open transactions that have written jobs. When one of them has ended, claims look behind.
"""

from __future__ import annotations

import pytest

from pgqueue.worker.claiming.cursors import LAG
from pgqueue.worker.claiming.late_commits import (
    CHEAP_LOOK,
    CHEAP_ROW,
    SHORTEST_PAUSE,
    TIMES_ITS_DURATION,
    WATCH,
    LateCommits,
)


@pytest.mark.parametrize(
    ("claimed", "took", "pause"),
    [
        (0, 0.9 * CHEAP_LOOK, 0.0),
        (0, CHEAP_LOOK, SHORTEST_PAUSE),
        (100, CHEAP_LOOK + 99 * CHEAP_ROW, 0.0),
        (100, 0.1, TIMES_ITS_DURATION * 0.1),
    ],
)
def test_the_next_look_behind_is_due_later_if_the_last_look_behind_was_slow(claimed, took, pause):
    late = LateCommits()
    assert late.is_look_behind_due(0.0)
    assert late.note_look_behind(claimed, took, 100.0) == (pause == 0)
    assert late.is_look_behind_due(100.0 + pause)
    assert not pause or not late.is_look_behind_due(100.0 + 0.99 * pause)


def test_only_a_slow_survey_from_the_start_postpones_the_next_look_behind():
    late = LateCommits()
    late.note_survey_from_start(CHEAP_LOOK, 100.0)
    assert late.is_look_behind_due(100.0)
    late.note_survey_from_start(0.02, 100.0)
    assert not late.is_look_behind_due(100.0 + TIMES_ITS_DURATION * 0.019)
    assert late.is_look_behind_due(100.0 + TIMES_ITS_DURATION * 0.02)


def test_transactions_that_write_jobs_are_listed_at_intervals():
    late = LateCommits()
    assert late.is_watch_due(0.0)
    late.begin_watch(10.0)
    assert not late.is_watch_due(10.0 + 0.9 * WATCH)
    assert late.is_watch_due(10.0 + WATCH)


def test_the_beginning_of_a_long_transaction_that_wrote_jobs_is_returned_when_it_has_ended():
    late = LateCommits()
    assert late.first_that_ended([("long", 5.0, 10.0), ("longer", 3.0, 10.0), ("new", 9.99, 10.0)]) is None
    assert late.first_that_ended([("longer", 3.0, 11.0)]) == 5.0 - LAG, (
        "the new transaction was too short to leave jobs behind the cursors"
    )
    assert late.first_that_ended([("longer", 3.0, 12.0)]) is None, "each transaction is returned once"
    assert late.first_that_ended([]) == 3.0 - LAG


def test_the_earliest_beginning_is_returned_if_several_transactions_have_ended():
    late = LateCommits()
    late.first_that_ended([("a", 5.0, 10.0), ("b", 2.0, 10.0)])
    assert late.first_that_ended([]) == 2.0 - LAG


def test_a_transaction_whose_beginning_is_hidden_counts_as_begun_at_the_watch_before_it_was_first_seen():
    late = LateCommits()
    assert late.first_that_ended([("secret", None, 10.0)]) is None
    assert late.first_that_ended([("secret", None, 10.0 + WATCH)]) is None
    assert late.first_that_ended([]) == 10.0 - WATCH - LAG
