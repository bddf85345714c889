"""Tests of exception groups: one error in the group decides the outcome, as if the handler had raised it outside of the group."""

from __future__ import annotations

import asyncio

import pytest
from tenacity import retry_if_exception_type

from pgqueue import App, Cancel, Dead, RateLimited, Retry, RetryPolicy, Snooze, Suspended
from pgqueue.errors import DuplicateStepError, SignalTimeoutError
from pgqueue.model.groups import MOST_ERRORS, deciding
from pgqueue.model.outcome import Outcome
from pgqueue.worker.ending import Ending
from pgqueue.worker.running.conclusions import failed
from pgqueue.worker.running.hook_tasks import Hooks
from tests.factories import attempt

BOOM, GONE, SNOOZE = ValueError("boom"), OSError("gone"), Snooze(60)
TIME_OUT = SignalTimeoutError(("go",))
DEFAULT = RetryPolicy()
ON_VALUES = RetryPolicy(permanent=(ValueError,))
NOT_ON_OS = RetryPolicy(transient=(OSError,))
BY_TENACITY = RetryPolicy(retry=retry_if_exception_type(OSError))


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", errors)


def nested(depth: int, error: BaseException) -> BaseException:
    for _ in range(depth):
        error = group(error)
    return error


class HostileGroupError(ExceptionGroup[Exception]):
    """A group whose class hides its errors."""

    @property
    def exceptions(self) -> tuple[Exception, ...]:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "chosen"),
    [
        (BOOM, BOOM),
        (group(BOOM), BOOM),
        (group(BOOM, GONE), BOOM),
        (group(BOOM, SNOOZE, Dead()), SNOOZE),
        (group(group(BOOM), group(group(SNOOZE))), SNOOZE),
        (group(Suspended(), BOOM), BOOM),
        (group(asyncio.CancelledError(), SNOOZE), SNOOZE),
        (nested(5_000, SNOOZE), SNOOZE),
        (group(*[BOOM] * MOST_ERRORS, SNOOZE), BOOM),
        (HostileGroupError("hidden", [BOOM, SNOOZE]), SNOOZE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_first_decisive_error_of_a_group_decides_or_else_its_first_error(error, chosen):
    assert deciding(error, lambda one: isinstance(one, Snooze)) is chosen


def test_an_error_that_is_no_exception_decides_if_its_group_has_no_other():
    suspended = Suspended()
    assert deciding(group(suspended, KeyboardInterrupt()), lambda _: False) is suspended


OUTCOMES: list[tuple[tuple[BaseException, ...], RetryPolicy, tuple[str, str]]] = [
    ((Snooze(60),), DEFAULT, ("pending", "snoozed")),
    ((RateLimited(60),), DEFAULT, ("pending", "rate_limited")),
    ((Cancel("enough"),), DEFAULT, ("cancelled", "cancelled")),
    ((Dead(),), DEFAULT, ("dead", "given_up")),
    ((Retry(after=60),), NOT_ON_OS, ("retrying", "failed")),
    ((BOOM, Dead()), DEFAULT, ("dead", "given_up")),
    ((BOOM, Cancel()), ON_VALUES, ("dead", "permanent_error")),
    ((TIME_OUT,), DEFAULT, ("dead", "signal_timed_out")),
    ((BOOM, DuplicateStepError("twice")), DEFAULT, ("dead", "bad_step")),
    ((GONE,), DEFAULT, ("retrying", "failed")),
    ((GONE, BOOM), ON_VALUES, ("dead", "permanent_error")),
    ((GONE, GONE), NOT_ON_OS, ("retrying", "failed")),
    ((GONE, BOOM), NOT_ON_OS, ("dead", "permanent_error")),
    ((GONE, Suspended()), NOT_ON_OS, ("retrying", "failed")),
    ((GONE,), BY_TENACITY, ("retrying", "failed")),
    ((GONE, BOOM), BY_TENACITY, ("dead", "permanent_error")),
]


def outcome_of(error: BaseException, policy: RetryPolicy, ending: Ending = Ending.NONE) -> Outcome:
    app = App()

    @app.task(name="t", retry=policy)
    def t() -> None: ...

    one = attempt(max_attempts=6)
    one.end(ending)
    outcome = failed(t.spec, one, error)
    assert isinstance(outcome, Outcome)
    return outcome


@pytest.mark.parametrize(("errors", "policy", "expected"), OUTCOMES)
def test_an_error_in_a_group_has_the_same_outcome_as_outside(errors, policy, expected):
    outcome = outcome_of(group(*errors), policy)
    assert (outcome.state, outcome.reason) == expected
    if len(errors) == 1:
        alone = outcome_of(errors[0], policy)
        assert (alone.state, alone.reason, alone.delay) == (outcome.state, outcome.reason, outcome.delay)


def test_a_cancel_request_that_reaches_a_task_of_a_group_cancels_the_job():
    assert outcome_of(group(Cancel("on request")), DEFAULT, Ending.CANCELLED).state == "cancelled"


@pytest.mark.parametrize("policy", [DEFAULT, ON_VALUES], ids=["retrying", "dead"])
def test_the_error_of_a_failed_attempt_shows_the_deciding_error_the_group_and_every_traceback(policy):
    async def fail(error: Exception) -> None:
        raise error

    async def handler() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail(ValueError("boom")))
            tasks.create_task(fail(OSError("gone")))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(handler())
    outcome = outcome_of(caught.value, policy)
    assert outcome.error == (
        "ValueError: boom (in ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions))"
    )
    assert outcome.traceback is not None
    assert "in handler" in outcome.traceback
    assert "OSError: gone" in outcome.traceback


def test_a_cancelled_job_shows_only_the_reason_that_its_handler_gave():
    outcome = outcome_of(group(Cancel("no need")), DEFAULT)
    assert (outcome.error, outcome.traceback) == ("no need", None)


def test_an_instruction_in_a_group_that_a_hook_raises_is_obeyed():
    asked: list[BaseException] = []
    hooks = Hooks("t:on_dead", "dead", [])
    with hooks.guarded(print, {"id": 1}, asked):
        raise group(BOOM, SNOOZE)
    with hooks.guarded(print, {"id": 1}, asked):
        raise group(BOOM)
    assert asked == [SNOOZE]
