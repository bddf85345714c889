"""Tests of the progress that a handler reports: numbers, and a text that every database can store and every terminal can show."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue import Job
from pgqueue.errors import InvalidOptionError
from pgqueue.model.progress import LARGEST_NUMBER, MESSAGE_LIMIT, Progress
from pgqueue.worker.rare_fields import RareFields

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Lent:
    """A lease that keeps a list of the reported progress. After ``checks`` checks it stops the handler."""

    def __init__(self, checks: float = math.inf) -> None:
        self.said: list[Progress] = []
        self.checks = checks

    def check(self) -> None:
        self.checks -= 1
        if self.checks < 0:
            raise KeyboardInterrupt

    def progress(self, report: Progress) -> None:
        self.said.append(report)


def job(lease: Lent | None) -> Job:
    return Job(
        id=1, queue="default", task="t", args={}, state="running", priority=0, run_at=EPOCH, attempt=1, max_attempts=1,
        lease_id=1, created_at=EPOCH, lease=lease,
    )  # fmt: skip


@given(st.text(max_size=2 * MESSAGE_LIMIT))
def test_any_message_can_be_stored(message: str) -> None:
    stored = Progress.of(1, None, message).as_json()["message"]
    assert "\x00" not in stored
    assert len(stored) <= MESSAGE_LIMIT
    assert json.loads(json.dumps(stored).encode()) == stored
    stored.encode()


@pytest.mark.parametrize("number", [0, -1, 2.5, True, Decimal("1.5"), Fraction(1, 2), LARGEST_NUMBER])
def test_numbers_of_any_type_are_accepted(number) -> None:
    report = Progress.of(number, number, None)
    assert report.done == report.total == float(number)
    assert json.loads(json.dumps(report.as_json()))["done"] == float(number)


@pytest.mark.parametrize(
    "value", [None, "3", b"3", math.nan, math.inf, 2**53 + 1, 1e300, [], 3j, Decimal("nan")]
)
def test_a_value_of_done_that_is_no_number_is_refused(value) -> None:
    with pytest.raises(InvalidOptionError, match="done of a progress is"):
        Progress.of(value, None, None)


@pytest.mark.parametrize("message", [3, b"on", ["on"]])
def test_a_message_that_is_no_text_is_refused(message) -> None:
    with pytest.raises(InvalidOptionError, match="message of a progress is"):
        Progress.of(1, None, message)


def test_only_the_job_object_that_a_handler_gets_can_report_progress() -> None:
    with pytest.raises(RuntimeError, match="was read, not claimed"):
        job(None).progress(1)


def test_track_reports_the_progress_before_each_item_and_at_the_end() -> None:
    lease = Lent()
    assert list(job(lease).track("abc", message="on")) == ["a", "b", "c"]
    assert lease.said == [Progress(done, 3, "on") for done in range(4)]


def test_track_reports_the_given_total_if_the_items_have_no_length() -> None:
    lease = Lent()
    assert list(job(lease).track(iter("ab"))) == ["a", "b"]
    assert list(job(lease).track(iter("ab"), total=2)) == ["a", "b"]
    assert [report.total for report in lease.said] == [None] * 3 + [2] * 3
    assert list(job(lease).track([])) == []


def test_track_stops_at_the_next_item_when_the_job_is_asked_to_stop() -> None:
    lease, seen = Lent(checks=2), []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(job(lease).track("abc"))
    assert lease.said[-1] == Progress(1, 3)


def test_track_works_with_asynchronous_items() -> None:
    async def items() -> AsyncIterator[str]:
        for item in "ab":
            yield item

    async def play(lease: Lent) -> list[str]:
        return [item async for item in job(lease).track(items(), total=2)]

    lease = Lent()
    assert asyncio.run(play(lease)) == ["a", "b"]
    assert lease.said == [Progress(done, 2) for done in range(3)]
    with pytest.raises(TypeError, match="use `async for`"):
        list(job(lease).track(items()))
    with pytest.raises(TypeError, match="use `for`"):
        aiter(job(lease).track("ab"))


def test_the_rare_fields_of_a_job_are_the_same_after_they_were_sent_to_a_child_process() -> None:
    """Rare fields are fields that only some jobs have, such as a deadline or progress."""
    extra = RareFields.of(RareFields(None, time.monotonic() + 60, '{"done": 3}').text())
    assert extra.expires is None
    assert extra.progressed() == {"done": 3}
    left = json.loads(extra.text())["deadline"]
    assert 50 < left <= 60
    unreadable = RareFields(None, None, "1" + "0" * 5000)
    assert unreadable.progressed() == unreadable.progress
