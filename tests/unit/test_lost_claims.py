"""Tests of when a worker looks for lost claims (claims whose answer did not arrive), and of the jobs that it finds."""

from __future__ import annotations

import asyncio

from pgqueue.worker.claiming.lost_claims import DOUBT, LOOK_FOR_LOST, LostClaims, jobs_of_lost_claims
from tests.unit.fake_link import FakeLink, claimed_row


def test_a_worker_rarely_looks_for_lost_claims_if_no_answer_was_lost():
    lost = LostClaims(longest_claim=60.0, now=100.0)
    assert not lost.is_due(100.0 + LOOK_FOR_LOST - 1)
    assert lost.is_due(100.0 + LOOK_FOR_LOST)
    assert lost.is_overdue(100.0 + LOOK_FOR_LOST)
    lost.note_look(200.0)
    assert not lost.is_due(200.0)
    assert lost.next_look == 200.0 + LOOK_FOR_LOST


def test_after_a_lost_answer_every_survey_looks_for_lost_claims_until_the_claim_can_no_longer_commit():
    lost = LostClaims(longest_claim=10.0, now=100.0)
    lost.note_lost_answer(101.0)
    lost.note_look(102.0)
    assert lost.is_due(102.0)
    assert not lost.is_overdue(102.0), (
        "the surveys look for lost claims, so nothing else needs to look for them"
    )
    assert lost.is_due(101.0 + 10.0 + DOUBT - 0.1)
    assert not lost.is_due(101.0 + 10.0 + DOUBT)


def test_running_jobs_that_the_worker_does_not_know_are_found():
    link = FakeLink(
        {"choose_lost_claims": [[(3,), (4,)]], "find_lost_claims": [[claimed_row(3), claimed_row(4)]]}
    )
    found = asyncio.run(jobs_of_lost_claims(link, 7, {1, 2}))
    assert [row[0] for row in found] == [3, 4]
    assert link.parameters("find_lost_claims") == [{"worker_id": 7, "known": "{1,2}"}]


def test_only_one_cheap_statement_is_sent_if_there_are_no_lost_claims():
    link = FakeLink()
    assert asyncio.run(jobs_of_lost_claims(link, 7, [])) == []
    assert link.names == ["choose_lost_claims"]


def test_a_row_that_cannot_be_read_does_not_hide_the_other_rows():
    def held(statement):
        known = str(statement.parameters["known"])
        return ValueError("not this one") if "4" not in known else [claimed_row(3)]

    link = FakeLink(
        {"choose_lost_claims": [[(3,), (4,)]], "find_lost_claims": [held], "make_dead": [[("t",)]]}
    )
    found = asyncio.run(jobs_of_lost_claims(link, 7, []))
    assert [row[0] for row in found] == [3]
    assert [parameters["job_id"] for parameters in link.parameters("make_dead")] == [4]
