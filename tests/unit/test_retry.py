"""Tests of retry policies: what each form of the option ``retry`` means. Even a bad wait function of the user makes no job hang or vanish."""

from __future__ import annotations

import logging
import math

import pytest
from tenacity import (
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_random,
)
from tenacity.wait import wait_base

from pgqueue import RetryPolicy
from pgqueue.errors import InvalidOptionError
from pgqueue.model.units import LONGEST_DURATION

BOOM = ValueError("boom")


def delays(policy: RetryPolicy, attempts: int) -> list[float]:
    return [policy.delay(attempt, 0.0, BOOM) for attempt in range(1, attempts + 1)]


@pytest.mark.parametrize(
    ("value", "attempts", "waits"),
    [
        (None, 6, [1, 5, 30, 300, 1800, 1800]),
        (False, 1, [1]),
        (3, 3, [1, 5]),
        (1, 1, []),
        ([2, 0.5], 3, [2, 0.5, 0.5]),
        ((7,), 2, [7, 7]),
        (wait_fixed(4), 6, [4, 4]),
        (wait_exponential(multiplier=2, max=10), 6, [2, 4, 8, 10]),
        (RetryPolicy(wait=wait_fixed(9), max_attempts=2), 2, [9]),
        (RetryPolicy(stop=stop_after_attempt(8)), 8, [1]),
    ],
)
def test_each_form_of_retry_sets_a_number_of_attempts_and_the_delays(value, attempts, waits):
    policy = RetryPolicy.of(value)
    assert policy.max_attempts == attempts
    assert delays(policy, len(waits)) == waits


@pytest.mark.parametrize(
    "value",
    [
        True,
        0,
        -1,
        10_001,
        [],
        [-1],
        [math.nan],
        [math.inf],
        [LONGEST_DURATION + 1],
        ["1"],
        [True],
        "often",
        1.5,
        object(),
    ],
)
def test_a_value_that_is_no_policy_is_refused(value):
    with pytest.raises(InvalidOptionError, match="PGQ-404"):
        RetryPolicy.of(value)


@pytest.mark.parametrize(
    ("value", "do"),
    [
        (True, "leave retry out"),
        ([], "retry=False"),
        (0, "retry=False"),
        (ValueError, "a list of delays"),
        ([OSError], "[1, 5, 30]"),
    ],
)
def test_the_error_of_a_wrong_retry_says_what_to_write(value, do):
    with pytest.raises(InvalidOptionError) as caught:
        RetryPolicy.of(value)
    assert do in caught.value.do


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("wait", 5),
        ("stop", 5),
        ("retry", ValueError()),
        ("max_attempts", "8"),
        ("max_attempts", 2.5),
        ("permanent", "ValueError"),
        ("transient", (OSError, "x")),
    ],
)
def test_a_policy_refuses_a_field_that_it_cannot_use(field, bad):
    with pytest.raises(InvalidOptionError, match=field):
        RetryPolicy(**{field: bad})


@pytest.mark.parametrize(
    ("policy", "error", "permanent"),
    [
        (RetryPolicy(), BOOM, False),
        (RetryPolicy(permanent=(ValueError,)), BOOM, True),
        (RetryPolicy(permanent=(ValueError,)), UnicodeError(), True),
        (RetryPolicy(permanent=(OSError,)), BOOM, False),
        (RetryPolicy(transient=(OSError,)), BOOM, True),
        (RetryPolicy(transient=(OSError,)), TimeoutError(), False),
        (RetryPolicy(transient=(OSError,), permanent=(TimeoutError,)), TimeoutError(), True),
        (RetryPolicy(retry=retry_if_exception_type(OSError)), BOOM, True),
        (RetryPolicy(retry=retry_if_exception_type(OSError)), OSError(), False),
        (RetryPolicy(retry=retry_if_not_exception_type(OSError)), OSError(), True),
    ],
)
def test_a_policy_decides_which_failures_are_permanent(policy, error, permanent):
    assert policy.is_permanent(error) is permanent


def test_a_stop_function_sees_the_attempt_and_the_age_of_the_job():
    policy = RetryPolicy(stop=stop_after_delay(60) | stop_after_attempt(3))
    assert [policy.gives_up(*at, BOOM) for at in [(1, 0.0), (2, 59.9), (2, 60.0), (3, 0.0)]] == [
        False,
        False,
        True,
        True,
    ]
    assert not RetryPolicy().gives_up(9_999, 1e9, BOOM)


def test_jitter_stays_in_its_bounds():
    policy = RetryPolicy.of(wait_exponential_jitter(initial=1, max=8, jitter=2) + wait_random(0, 1))
    assert all(1 <= policy.delay(1, 0.0, BOOM) <= 4 for _ in range(50))


class Wait(wait_base):
    """A wait function of a user that returns ``answer``, or raises it."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __call__(self, retry_state: object) -> float:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    "answer", [-1, math.nan, math.inf, LONGEST_DURATION + 1, 1e300, None, "soon", BOOM, [], 10**400]
)
def test_the_default_delay_is_used_if_a_wait_function_fails_or_returns_nonsense(answer, caplog):
    with caplog.at_level(logging.CRITICAL):
        assert delays(RetryPolicy.of(Wait(answer)), 3) == [1, 5, 30]


def test_a_wait_function_can_read_the_exception():
    class retry_after(wait_base):  # noqa: N801
        def __call__(self, retry_state):
            return float(str(retry_state.outcome.exception()))

    assert RetryPolicy.of(retry_after()).delay(1, 0.0, ValueError("42")) == 42
