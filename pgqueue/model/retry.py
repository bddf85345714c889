"""Decides whether and when a failed job is tried again, with objects of the library tenacity, but without its sleep.

tenacity itself would sleep in the process. If a job waited so, it would keep its slot and its lease, and its wait would end if the worker
died. So a policy here only answers two questions after an attempt: whether another attempt follows, and after how many seconds. The
time is written into ``run_at``. To ask tenacity's wait, stop and retry objects, the policy makes a RetryCallState for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tenacity import RetryCallState, Retrying, retry_base, stop_after_attempt, stop_never
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from pgqueue.errors import InvalidOptionError
from pgqueue.model.units import LONGEST_DURATION
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import PolicyFailed
from pgqueue.text.values import shown

DEFAULT_MAX_ATTEMPTS = 6

DEFAULT_DELAYS = (1.0, 5.0, 30.0, 300.0, 1800.0)
MOST_ATTEMPTS = 10_000
ATTEMPTS = "the number of attempts, including the first one, must be from 1 to 10000"
NO_RETRY = "for a single attempt without a retry, write retry=False"
FORMS = "give a number of attempts, a list of delays in seconds, a tenacity wait, or a RetryPolicy"
EXAMPLES = {
    "wait": "wait_exponential()", "stop": "stop_after_attempt(8)", "retry": "retry_if_exception_type(OSError)",
}  # fmt: skip


class wait_list(wait_base):  # noqa: N801 - written like the names of tenacity
    """Waits for the given delays, one after the other. If there are more attempts than delays, the last delay is used again."""

    def __init__(self, delays: Sequence[float]) -> None:
        self.delays = tuple(float(delay) for delay in delays)

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.delays[min(retry_state.attempt_number, len(self.delays)) - 1]


DEFAULT_WAIT = wait_list(DEFAULT_DELAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Says after which errors a job is tried again, how often, and after which delays.

    ``wait``, ``stop`` and ``retry`` are tenacity objects (``wait_exponential(max=300) + wait_random(0, 5)``,
    ``stop_after_attempt(8)``, ``retry_if_exception_type(OSError)``). A ``permanent`` exception makes the job dead
    immediately. If ``transient`` is given, every exception of another class also makes the job dead immediately. ``max_attempts`` is the
    number of all attempts, including the first one.
    """

    wait: wait_base = DEFAULT_WAIT
    stop: stop_base = stop_never
    retry: retry_base | None = None
    permanent: tuple[type[BaseException], ...] = ()
    transient: tuple[type[BaseException], ...] = ()
    max_attempts: int = DEFAULT_MAX_ATTEMPTS

    def __post_init__(self) -> None:
        if isinstance(self.stop, stop_after_attempt):
            object.__setattr__(self, "max_attempts", int(self.stop.max_attempt_number))
        if type(self.max_attempts) is not int or not 1 <= self.max_attempts <= MOST_ATTEMPTS:
            raise InvalidOptionError(
                f"max_attempts of a retry policy is {shown(self.max_attempts)}.", why=ATTEMPTS, do=NO_RETRY
            )
        for name, tool in (("wait", self.wait), ("stop", self.stop), ("retry", self.retry)):
            if not callable(tool) and (name, tool) != ("retry", None):
                raise InvalidOptionError(
                    f"{name} of a retry policy is {shown(tool)}.",
                    do=f"give an object of tenacity, such as {EXAMPLES[name]}",
                )
        for name, kinds in (("permanent", self.permanent), ("transient", self.transient)):
            try:
                issubclass(Exception, kinds)
            except TypeError:
                raise InvalidOptionError(
                    f"{name} of a retry policy is {shown(kinds)}.",
                    do="give a tuple of exceptions, such as (ValueError,)",
                ) from None

    @staticmethod
    def of(value: object) -> RetryPolicy:
        """Returns the policy for a value of ``retry=``: a policy, a number of attempts, a list of delays in seconds, or a tenacity wait.

        None means the default delays (1 s, 5 s, 30 s, 5 min, 30 min). False and 1 mean a single attempt. A list means one attempt more than
        it has delays.
        """
        match value:
            case None:
                return DEFAULT_POLICY
            case False:
                return RetryPolicy(max_attempts=1)
            case RetryPolicy():
                return value
            case wait_base():
                return RetryPolicy(wait=value)
            case True:
                raise InvalidOptionError(
                    "retry=True does not say how often.",
                    do=f"leave retry out to get the default delays, or {FORMS}",
                )
            case int() if not 1 <= value <= MOST_ATTEMPTS:
                raise InvalidOptionError(
                    f"retry={shown(value)} is no number of attempts.", why=ATTEMPTS, do=NO_RETRY
                )
            case int():
                return RetryPolicy(max_attempts=value)
            case list() | tuple():
                return _after_delays(value)
        raise InvalidOptionError(f"retry={shown(value)} is no retry policy.", do=FORMS)

    def is_permanent(self, error: BaseException) -> bool:
        """Whether the job must not be tried again after this error, even if it has attempts left.

        False if ``retry`` itself raises an error.
        """
        try:
            if isinstance(error, self.permanent):
                return True
            if self.transient and not isinstance(error, self.transient):
                return True
            return self.retry is not None and not self.retry(_state(1, 0.0, error))
        except BaseException as broken:  # noqa: BLE001 - ``retry`` is code of a user, and can raise any error
            emit(PolicyFailed("permanent", broken))
            return False

    def gives_up(self, attempt: int, age: float, error: BaseException) -> bool:
        """Whether ``stop`` says that no attempt follows. ``age``: seconds since the enqueue. False if ``stop`` itself raises an error."""
        try:
            return bool(self.stop(_state(attempt, age, error)))
        except BaseException as broken:  # noqa: BLE001
            emit(PolicyFailed("stop", broken))
            return False

    def delay(self, attempt: int, age: float, error: BaseException) -> float:
        """Returns the seconds until the next attempt. If ``wait`` fails or returns no valid time, the default policy decides."""
        try:
            seconds = float(self.wait(_state(attempt, age, error)))
        except BaseException as broken:  # noqa: BLE001
            emit(PolicyFailed("wait", broken))
            seconds = math.nan
        if not 0 <= seconds <= LONGEST_DURATION:
            return (
                DEFAULT_POLICY.delay(attempt, age, error)
                if self is not DEFAULT_POLICY
                else DEFAULT_DELAYS[-1]
            )
        return seconds


def _after_delays(delays: Sequence[object]) -> RetryPolicy:
    """Returns the policy that makes one attempt, and another attempt after each of the delays."""
    if not delays:
        raise InvalidOptionError(f"retry={shown(delays)} has no delay.", do=NO_RETRY)
    if not all(map(_is_delay, delays)):
        raise InvalidOptionError(
            f"retry={shown(delays)} is not a list of delays.", do="give seconds, such as [1, 5, 30]"
        )
    return RetryPolicy(wait=wait_list(cast("Sequence[float]", delays)), max_attempts=len(delays) + 1)


def _is_delay(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_DURATION


def _state(attempt: int, age: float, error: BaseException) -> RetryCallState:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    state.start_time = 0.0
    state.outcome_timestamp = age
    return state


DEFAULT_POLICY = RetryPolicy()
