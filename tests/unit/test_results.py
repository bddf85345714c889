"""A handler's return value is stored, dropped or followed as an instruction, or it makes the job dead without another attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pgqueue import App, Cancel, Dead, RateLimited, Retry, Snooze
from pgqueue.errors import BadResultError
from pgqueue.model.outcome import Outcome
from pgqueue.model.task import KEPT_ELSEWHERE
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.running.call import perform, perform_async
from pgqueue.worker.running.chunk_call import Chunk, perform_chunk, perform_chunk_async
from tests import factories


@dataclass
class Item:
    n: int


class Response: ...


UNSTORABLE: dict[str, Callable[[], object]] = {
    "an object": Response,
    "bytes that are no text": lambda: b"\xff",
    "nested object": lambda: {"a": [Response()]},
    "not a number": lambda: float("nan"),
    "too large": lambda: "x" * 65 * 1024,
    "too deep": lambda: __import__("json").loads("[" * 100 + "]" * 100),
    "NUL": lambda: "\x00",
    "an exception": lambda: ValueError("returned"),
}


def attempt(**extra: Any) -> Attempt:
    return factories.attempt(args='{"n": 1}' if extra.get("chunk") else "{}")


def ended(way: str, answer: Callable[[], object], **options: Any) -> Outcome:
    """Returns the outcome of a job whose handler returns ``answer()``."""
    app, is_chunk = App(), way.startswith("chunk")
    if is_chunk:
        options["chunk"] = 5

    def sync(items: list[Item]) -> Any:
        return [answer()]

    async def later(items: list[Item]) -> Any:
        await asyncio.sleep(0)
        return [answer()]

    def plain() -> Any:
        return answer()

    async def plain_later() -> Any:
        await asyncio.sleep(0)
        return answer()

    handler: Any = (later if "loop" in way else sync) if is_chunk else plain_later if "loop" in way else plain
    spec: Any = app.task(name="t", retry=[0.1] * 5, **options)(handler).spec
    one = attempt(chunk=is_chunk)
    with asyncio.Runner() as runner:
        if way == "thread":
            found = perform(spec, one, app, runner, traced=False)
        elif way == "loop":
            found = runner.run(perform_async(spec, one, app, traced=False))
        elif way == "chunk on a thread":
            [found] = perform_chunk(spec, Chunk([one]), app, runner, traced=False)
        else:
            [found] = runner.run(perform_chunk_async(spec, Chunk([one]), app, traced=False))
    assert found is not None
    return found


WAYS = ["thread", "loop", "chunk on a thread", "chunk on the loop"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", UNSTORABLE)
def test_a_job_is_dead_without_a_retry_if_its_result_cannot_be_stored(way: str, what: str) -> None:
    outcome = ended(way, UNSTORABLE[what])
    # In the list that a handler of chunks returns, an exception means that its job has failed.
    if what == "an exception" and "chunk" in way:
        assert outcome.state == "retrying"
        return
    assert (outcome.state, outcome.reason) == ("dead", "bad_result")
    error = str(outcome.error)
    assert error.startswith("BadResultError: PGQ-610  T")
    assert error.endswith(f"  do: {KEPT_ELSEWHERE}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", sorted(set(UNSTORABLE) - {"an exception"}))
def test_a_job_completes_with_any_result_if_its_task_drops_results(way: str, what: str) -> None:
    outcome = ended(way, UNSTORABLE[what], store_result=False)
    assert (outcome.state, outcome.result) == ("completed", None)


def generator(instruction: Exception) -> Iterator[int]:
    yield 1
    raise instruction


async def coroutine(instruction: Exception) -> None:
    await asyncio.sleep(0)
    raise instruction


def raised(instruction: Exception) -> None:
    raise instruction


# The ways in which a handler can pass an instruction on: each function is called in the handler, and its result is returned.
SHAPES: dict[str, Callable[[Exception], object]] = {
    "raised": raised, "returned": lambda instruction: instruction, "from a generator": generator,
    "from a coroutine": coroutine,
}  # fmt: skip


@pytest.mark.parametrize("store_result", [True, False])
@pytest.mark.parametrize("way", ["thread", "loop"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("instruction", "reason"),
    [(RateLimited(9), "rate_limited"), (Snooze(9), "snoozed"), (Retry(after=9), "failed"), (Dead("no"), "given_up"), (Cancel("no"), "cancelled")],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_an_instruction_is_followed_whether_it_is_raised_or_returned(
    way: str, shape: str, instruction: Exception, reason: str, *, store_result: bool
) -> None:
    if way == "loop" and shape == "from a coroutine":
        pytest.skip("an async handler awaits the coroutine itself")
    assert ended(way, lambda: SHAPES[shape](instruction), store_result=store_result).reason == reason


def test_a_generator_is_stored_as_a_list() -> None:
    assert ended("thread", lambda: (n for n in range(3))).result == "[0,1,2]"


@pytest.mark.parametrize("where", ["thread", "loop"])
def test_a_job_is_dead_without_a_retry_if_the_result_of_job_transaction_cannot_be_stored(
    where: str,
) -> None:
    """``job.transaction(result)`` raises this error, and the handler does not catch it."""

    def settle() -> None:
        raise BadResultError("Task t returned a Response, which is not JSON.")

    assert ended(where, settle).reason == "bad_result"
