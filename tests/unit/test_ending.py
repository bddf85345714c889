"""The endings of an attempt: released, cancelled, timed out or lost. They are listed here from the lowest to the highest. If an attempt has several endings, the highest of them counts for its handler and its outcome."""

from __future__ import annotations

import asyncio
import threading
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue import App
from pgqueue.errors import DeadlineExceededError, JobTimeoutError, LeaseLostError
from pgqueue.model.outcome import COMPLETED, Cancel, Outcome
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Ending, NothingToSettle, OwnCommit
from pgqueue.worker.rare_fields import RareFields
from pgqueue.worker.running import child_messages
from pgqueue.worker.running.chunk_call import Chunk
from pgqueue.worker.running.conclusions import failed, succeeded
from pgqueue.worker.running.threads import InterruptedByTimeout
from tests.conclusions import reason_of

ENDINGS = (Ending.RELEASED, Ending.CANCELLED, Ending.TIMED_OUT, Ending.LOST)
RAISED_BY_CHECK = {
    Ending.NONE: None, Ending.RELEASED: None, Ending.CANCELLED: Cancel, Ending.TIMED_OUT: JobTimeoutError,
    Ending.LOST: LeaseLostError,
}  # fmt: skip
STOPS = [asyncio.CancelledError, InterruptedByTimeout, ZeroDivisionError]
# For each ending, the reason of the outcome. True: the ending stopped the handler. False: the handler raised another error instead.
REASONS = {
    (Ending.NONE, True): "failed", (Ending.RELEASED, True): "released", (Ending.CANCELLED, True): "cancelled",
    (Ending.TIMED_OUT, True): "failed", (Ending.LOST, True): "LEASE_LOST",
    (Ending.NONE, False): "failed", (Ending.RELEASED, False): "released", (Ending.CANCELLED, False): "failed",
    (Ending.TIMED_OUT, False): "failed", (Ending.LOST, False): "LEASE_LOST",
}  # fmt: skip

app = App()


@app.task(name="t", retry=[1])
def t() -> None: ...


def attempt(timeout: float | None = 5.0, rare: str | None = None) -> Attempt:
    return Attempt(1, (7, 3, "default", 0, "t", "{}", 1, 6, 0, timeout, 0.0, 0.0, None, rare, None))


def raised_by_check(one: Attempt) -> type[Exception] | None:
    try:
        one.check()
    except Exception as error:  # noqa: BLE001
        return type(error)
    return None


@given(st.lists(st.sampled_from(ENDINGS)))
def test_the_highest_ending_counts_in_whatever_order_the_endings_come(endings: list[Ending]) -> None:
    one, highest = attempt(), Ending.NONE
    for ending in endings:
        assert one.end(ending) is (ending > highest)
        highest = max(highest, ending)
        assert one.ending is highest
        assert raised_by_check(one) is RAISED_BY_CHECK[highest]


@given(st.lists(st.sampled_from(ENDINGS)), st.sampled_from(STOPS), st.sampled_from(OwnCommit))
def test_the_handler_its_middleware_and_the_outcome_agree_on_the_ending_of_an_attempt(
    endings: list[Ending], raised: type[BaseException], own_commit: OwnCommit
) -> None:
    one = attempt()
    one.own_commit = own_commit
    for ending in endings:
        one.end(ending)
    highest = max(endings, default=Ending.NONE)
    error = raised()
    is_stopped = raised is asyncio.CancelledError
    cause = one.cause_of(error)
    if RAISED_BY_CHECK[highest] is None or (highest is Ending.CANCELLED and not is_stopped):
        assert cause is error
    else:
        assert type(cause) is RAISED_BY_CHECK[highest] is raised_by_check(one)
    if own_commit is OwnCommit.CONFIRMED:
        assert failed(t.spec, one, error) is succeeded(t.spec, one, None) is NothingToSettle.COMMITTED
        return
    concluded = failed(t.spec, one, error)
    assert reason_of(concluded) == REASONS[highest, is_stopped]
    if highest is Ending.TIMED_OUT:
        assert isinstance(concluded, Outcome)
        assert "longer than its timeout of 5 s" in str(concluded.error)
    returned = succeeded(t.spec, one, None)
    assert returned is (NothingToSettle.LEASE_LOST if highest is Ending.LOST else COMPLETED)


def test_a_crash_of_the_process_does_not_count_if_the_attempt_was_released_or_lost() -> None:
    for ending, reason in ((Ending.RELEASED, "released"), (Ending.LOST, "LEASE_LOST")):
        one = attempt()
        one.end(ending)
        assert reason_of(failed(t.spec, one, EOFError(), crashed=True, crash_limit=1)) == reason


def test_an_attempt_that_timed_out_gets_a_deadline_error_only_if_its_deadline_has_passed() -> None:
    for left, kind in ((60.0, JobTimeoutError), (0.0, DeadlineExceededError)):
        one = attempt(rare=RareFields(None, monotonic() + left, None).text())
        one.end(Ending.TIMED_OUT)
        assert raised_by_check(one) is kind


def test_the_higher_ending_counts_if_two_threads_end_an_attempt_at_the_same_time() -> None:
    for order in permutations(ENDINGS, 2):
        for _ in range(50):
            one, start = attempt(), threading.Barrier(2)

            def end(ending: Ending, one: Attempt = one, start: threading.Barrier = start) -> None:
                start.wait()
                one.end(ending)

            threads = [threading.Thread(target=end, args=[ending]) for ending in order]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert one.ending is max(order)


@given(st.lists(st.sampled_from((Ending.NONE, *ENDINGS)), min_size=1), st.booleans())
def test_the_call_of_a_chunk_ends_by_its_timeout_or_when_all_its_attempts_have_an_ending(
    endings: list[Ending], timed_out: bool
) -> None:
    chunk = Chunk([attempt() for _ in endings])
    for one, ending in zip(chunk.attempts, endings, strict=True):
        one.end(ending)
    if timed_out:
        assert [chunk.end(Ending.TIMED_OUT) for _ in range(2)] == [True, False]
    assert chunk.ending is max(min(endings), Ending.TIMED_OUT if timed_out else Ending.NONE)
    assert [one.ending for one in chunk.attempts] == endings, "the attempts can still complete"
    chunk.end_attempts()
    assert [one.ending for one in chunk.attempts] == [
        max(ending, Ending.TIMED_OUT) if timed_out else ending for ending in endings
    ]


@pytest.mark.parametrize("own_commit", OwnCommit)
@pytest.mark.parametrize(
    "concluded", [COMPLETED, Outcome.dead("given_up", ValueError("x")), *NothingToSettle], ids=str
)
def test_the_conclusion_of_an_attempt_is_the_same_after_a_child_process_has_sent_it(
    concluded: Any, own_commit: OwnCommit
) -> None:
    there, here = attempt(), attempt()
    there.own_commit = own_commit
    said = child_messages.decoded(child_messages.conclusion(there, concluded))
    assert child_messages.noted(said, here) == concluded
    assert here.own_commit is own_commit


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_ending_of_an_attempt_is_the_same_after_it_was_sent_to_a_child_process(ending: Ending) -> None:
    here, there = attempt(), attempt()
    here.end(ending)
    child_messages.note_ending(child_messages.decoded(child_messages.ending(here)), there)
    assert there.ending is ending
