"""Tests of the outcome of an attempt for each kind of error. Every exception can be described and stored, even a hostile exception."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue import Cancel, RateLimited, Retry, RetryPolicy, Snooze
from pgqueue.errors import DeadlineExceededError, InvalidOptionError, ProcessDiedError
from pgqueue.model.outcome import Outcome, decide
from pgqueue.text import described
from pgqueue.text.described import ERROR_LIMIT, TRACEBACK_LIMIT, clean, describe, trace

BOOM = ValueError("boom")
LATE = DeadlineExceededError("Its deadline passed while it ran.")
ONCE = RetryPolicy.of(False)
PERMANENT = RetryPolicy(permanent=(ValueError,))


@pytest.mark.parametrize(
    ("error", "facts", "expected"),
    [
        (BOOM, {}, ("retrying", "failed", 1.0)),
        (BOOM, {"attempt": 2}, ("retrying", "failed", 5.0)),
        (BOOM, {"attempt": 6}, ("dead", "attempts_exhausted", 0.0)),
        (BOOM, {"attempt": 7}, ("dead", "attempts_exhausted", 0.0)),
        (BOOM, {"policy": PERMANENT}, ("dead", "permanent_error", 0.0)),
        (KeyboardInterrupt(), {}, ("retrying", "failed", 1.0)),
        (SystemExit(1), {}, ("retrying", "failed", 1.0)),
        (Snooze(60), {"attempt": 6}, ("pending", "snoozed", 60.0)),
        (Snooze("5m"), {"policy": PERMANENT}, ("pending", "snoozed", 300.0)),
        (Cancel("enough"), {"attempt": 6}, ("cancelled", "cancelled", 0.0)),
        (Retry(), {}, ("retrying", "failed", 1.0)),
        (Retry(after=timedelta(minutes=1)), {}, ("retrying", "failed", 60.0)),
        (Retry(after=0), {"attempt": 5}, ("retrying", "failed", 0.0)),
        (Retry(), {"attempt": 6}, ("dead", "attempts_exhausted", 0.0)),
        (Retry(), {"policy": RetryPolicy(transient=(OSError,))}, ("retrying", "failed", 1.0)),
        (ProcessDiedError("killed"), {"crashed": True}, ("retrying", "failed", 1.0)),
        (ProcessDiedError("killed"), {"crashed": True, "crash_count": 2}, ("dead", "crash_loop", 0.0)),
        (ProcessDiedError("killed"), {"crashed": True, "crash_count": 1}, ("retrying", "failed", 1.0)),
        (ProcessDiedError("killed"), {"crashed": True, "attempt": 6}, ("dead", "attempts_exhausted", 0.0)),
        (BOOM, {"crash_count": 9}, ("retrying", "failed", 1.0)),
        (BOOM, {"left": 1.5}, ("retrying", "failed", 1.0)),
        (BOOM, {"left": 0.5}, ("dead", "deadline_exceeded", 0.0)),
        (BOOM, {"left": -2.0}, ("dead", "deadline_exceeded", 0.0)),
        (BOOM, {"left": 0.5, "attempt": 6}, ("dead", "attempts_exhausted", 0.0)),
        (LATE, {}, ("dead", "deadline_exceeded", 0.0)),
        (LATE, {"left": 0.0, "attempt": 6, "policy": PERMANENT}, ("dead", "deadline_exceeded", 0.0)),
        (Retry(after=3), {"left": 2.0}, ("dead", "deadline_exceeded", 0.0)),
        (Snooze(60), {"left": 61.0}, ("pending", "snoozed", 60.0)),
        (Snooze(0), {}, ("pending", "snoozed", 0.1)),
        (RateLimited(timedelta(0)), {}, ("pending", "rate_limited", 0.1)),
        (Snooze(60), {"left": 60.0}, ("dead", "deadline_exceeded", 0.0)),
        (Cancel("enough"), {"left": -1.0}, ("cancelled", "cancelled", 0.0)),
        (ProcessDiedError("killed"), {"crashed": True, "left": 0.5}, ("dead", "deadline_exceeded", 0.0)),
    ],
)
def test_the_error_of_an_attempt_decides_its_outcome(error, facts, expected):
    given = {"policy": RetryPolicy(), "attempt": 1, "max_attempts": 6, "age": 0.0, **facts}
    outcome = decide(error, given.pop("policy"), **given)
    assert (outcome.state, outcome.reason, outcome.delay) == expected
    assert outcome.counted is (outcome.reason not in ("snoozed", "rate_limited")), (
        "after these two outcomes the attempt does not count"
    )
    assert outcome.crashed is facts.get("crashed", False)


@pytest.mark.parametrize(
    ("outcome", "keeps"),
    [
        (lambda keep: Outcome.completed(None, keep), {"all"}),
        (lambda keep: Outcome.cancelled("why", keep), {"all", "failures"}),
        (lambda keep: Outcome.dead("permanent_error", BOOM, keep), {"all", "failures"}),
    ],
)
def test_finished_rows_are_kept_as_the_option_keep_says(outcome, keeps):
    assert {keep for keep in ("all", "failures", "none") if outcome(keep).kept} == keeps


def test_a_bad_delay_of_a_snooze_or_a_retry_is_refused_when_the_handler_makes_the_exception():
    for ask in (lambda: Snooze("soon"), lambda: Retry(after=float("nan"))):
        with pytest.raises(InvalidOptionError):
            ask()


class HostileError(Exception):
    """Its ``__str__`` and ``__repr__`` call ``act``."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def __str__(self):
        return self.act()

    __repr__ = __str__


def fail(error):
    raise error


def cyclic():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def deep(depth=3000):
    error = ValueError(0)
    for number in range(depth):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    return error


# Functions that make exceptions which are hard to describe or to store.
HOSTILE = {
    "its __str__ raises": lambda: HostileError(lambda: fail(RuntimeError("no"))),
    "its __str__ exits": lambda: HostileError(lambda: fail(SystemExit(1))),
    "its __str__ interrupts": lambda: HostileError(lambda: fail(KeyboardInterrupt())),
    "its __str__ is no text": lambda: HostileError(lambda: 5),
    "its __str__ recurses": lambda: HostileError(lambda: describe(HOSTILE["its __str__ recurses"]())),
    "10 MB": lambda: ValueError("x" * 10_000_000),
    "NUL and surrogate": lambda: ValueError("a\x00b\ud800c"),
    "a cycle of causes": cyclic,
    "thousands of causes": deep,
    "a huge group": lambda: ExceptionGroup("many", [ValueError(n) for n in range(20_000)]),
    "a group of hostile exceptions": lambda: ExceptionGroup(
        "g", [HostileError(lambda: fail(RuntimeError("no")))]
    ),
    "empty": ValueError,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_exception_can_be_stored(kind):
    with pytest.raises(Exception) as caught:
        fail(HOSTILE[kind]())
    said, traced = describe(caught.value), trace(caught.value)
    assert said.startswith(type(caught.value).__name__)
    for text, limit in ((said, ERROR_LIMIT), (traced, TRACEBACK_LIMIT)):
        assert text
        assert "\x00" not in text
        assert len(text) <= limit + 100
        text.encode()


@given(st.text(), st.integers(10, 200))
def test_any_text_is_cleaned_for_a_text_column(text, limit):
    cleaned = clean(text, limit)
    assert "\x00" not in cleaned
    cleaned.encode()
    if len(text) <= limit and text.isprintable():
        assert cleaned == text


@pytest.mark.parametrize("delay", [-5, -1e-9, "-5s", timedelta(seconds=-1), math.nan, math.inf, -math.inf, 1e300, 10**400, True, "soon", b"5"], ids=repr)  # fmt: skip
def test_snooze_retry_and_rate_limited_refuse_a_value_that_is_no_duration(delay):
    for make in (Snooze, RateLimited, lambda after: Retry(after=after)):
        with pytest.raises(InvalidOptionError, match="a year at most and not below 0"):
            make(delay)


@pytest.mark.parametrize("asked", [-5.0, math.nan, math.inf])
def test_a_snooze_whose_delay_was_made_invalid_later_is_a_failure_that_counts(asked):
    snooze = Snooze(5)
    snooze.delay = asked
    outcome = decide(snooze, RetryPolicy(), attempt=1, max_attempts=6, age=0.0)
    assert (outcome.state, outcome.counted) == ("retrying", True)


def test_rate_limited_accepts_the_values_of_the_http_header_retry_after():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert RateLimited(in_a_minute).retry_after == pytest.approx(60, abs=2)
    assert RateLimited("Wed, 21 Oct 2015 07:28:00 GMT").retry_after == 0
    assert RateLimited("Wed, 21 Oct 2015 07:28:00 -0000").retry_after == 0
    assert RateLimited("120").retry_after == 120
    for bad in ("soon", "Wed, 99 Oct", "Wed, x"):
        with pytest.raises(InvalidOptionError, match="RateLimited is"):
            RateLimited(bad)


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("it raised nothing")


def recursive(depth: int) -> int:
    return recursive(depth - 1) + 1 if depth else int("no number")


def deep(depth: int) -> object:
    """Calls functions that call each other, each of them once."""
    namespace: dict[str, object] = {"down_0": int}
    for number in range(1, depth):
        exec(f"def down_{number}(text):\n    return down_{number - 1}(text)", namespace)
    return namespace[f"down_{depth - 1}"]("no number")  # type: ignore[operator]


def noted() -> None:
    error = ValueError("line 1\nline 2")
    error.add_note("a note")
    raise error


def chained(*, hidden: bool) -> None:
    try:
        int("no number")
    except ValueError as error:
        if hidden:
            raise KeyError("k") from None
        raise KeyError("k") from error


@pytest.mark.parametrize(
    "function",
    [
        lambda: int("no number"), lambda: recursive(2), lambda: recursive(3), lambda: recursive(4), lambda: recursive(40), lambda: deep(29), lambda: deep(30), noted,
        lambda: chained(hidden=True), lambda: chained(hidden=False), lambda: BOOM.no_such_name, lambda: exec("no_such_name"),
        lambda: exec("x ="), lambda: exec("1 / 0"), lambda: exec(f"{'(' * 9}1 / 0{')' * 9}"), lambda: [1, 2][3 if BOOM else 4],
        lambda: (_ for _ in ()).throw(ExceptionGroup("two", [BOOM, LATE])), lambda: json.loads("{"), lambda: sys.exit(3),
    ],
)  # fmt: skip
def test_a_traceback_reads_like_that_of_the_standard_library(function):
    for _ in range(2):  # the second time, the texts of the frames are known
        error = raised(function)
        whole = traceback.TracebackException.from_exception(
            error, limit=-30, max_group_width=5, max_group_depth=5
        )
        assert trace(error) == "".join(whole.format())


def test_the_texts_of_frames_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(described, "MOST_FRAMES", 5)
    for number in range(20):
        assert f"in made_{number}\n" in (trace(raised(made(number))) or "")
        assert len(described._frames) <= 6


def made(number: int) -> Callable[[], object]:
    namespace: dict[str, Callable[[], object]] = {}
    exec(f"def made_{number}():\n    1 / 0", namespace)
    return namespace[f"made_{number}"]
