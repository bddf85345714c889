"""Tests of handlers that get many jobs in one call (a chunk): which arguments such a handler can have, and the outcome of each job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, NotRequired

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from pgqueue import App, Call, Cancel, Dead, Job, Retry, Snooze
from pgqueue.errors import InvalidArgumentsError, InvalidBatchError, InvalidOptionError
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.text.counted import count
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.running.chunk_call import Chunk, perform_chunk, perform_chunk_async
from pgqueue.worker.running.runner import Runner
from tests import factories
from tests.conclusions import reason_of


@dataclass
class Point:
    x: int
    y: int = 0


class Model(BaseModel):
    x: int
    y: int = 0


class Shape(TypedDict):
    x: int
    y: NotRequired[int]


def row(job_id: int, args: str, timeout: float | None = None, extra: str | None = None) -> Attempt:
    return factories.attempt(job_id, args=args, timeout=timeout, max_attempts=3, rare=extra)


def performed(app: App, spec: ChunkSpec, attempts: list[Attempt], way: str) -> list[Conclusion]:
    if way == "loop":
        return asyncio.run(perform_chunk_async(spec, Chunk(attempts), app, traced=False))
    with asyncio.Runner() as runner:
        return perform_chunk(spec, Chunk(attempts), app, runner, traced=False)


# ---------------------------------------------------------------- enqueuing


@pytest.mark.parametrize("kind", [Point, Model, Shape])
def test_a_job_of_a_chunked_task_is_enqueued_with_one_item_or_with_its_fields(kind):
    app, seen = App(), []

    def handler(items):
        seen.extend(items)

    handler.__annotations__ = {"items": list[kind]}
    task = app.task(name="t", chunk=10)(handler)
    texts = [task.job(x=1, y=2).args, task.job(x="3").args]
    if kind is not Shape:
        texts.append(task.job(kind(x=5)).args)
    outcomes = performed(app, task.spec, [row(n, text) for n, text in enumerate(texts)], "thread")
    assert outcomes == [COMPLETED] * len(texts)
    wanted = [kind(x=1, y=2), kind(x=3), kind(x=5)][: len(texts)]
    assert seen == wanted
    for bad in ({"y": 1}, {"x": "no"}, {"x": [1]}):
        with pytest.raises(InvalidArgumentsError, match="x"):
            task.job(**bad)
    if kind is not Model:  # a pydantic model ignores unknown fields, unless its own settings forbid them
        with pytest.raises(InvalidArgumentsError, match="z is unknown"):
            task.job(x=1, z=2)
    assert "x: int" in task.spec.describe()


def test_enqueue_many_takes_only_dicts_and_the_error_says_which_item_is_something_else():
    app = App("")

    @app.task(name="t", chunk=5)
    def handle(points: list[Point]) -> None: ...

    with pytest.raises(InvalidBatchError, match=r"\[1\] it is a Point, not a dict"):
        handle.enqueue_many([{"x": 1}, Point(2)])  # type: ignore[list-item]


def test_a_job_can_have_any_arguments_if_the_handler_takes_only_a_list_of_jobs():
    app, seen = App(), []

    @app.task(name="t", chunk=10)
    def t(jobs: list[Job]) -> None:
        seen.extend(job.args for job in jobs)

    attempts = [row(n, t.job(a=n, b=[n]).args) for n in range(3)]
    assert performed(app, t.spec, attempts, "thread") == [COMPLETED] * 3
    assert seen == [{"a": n, "b": [n]} for n in range(3)]


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"a": int},
        {"a": list},
        {"a": list[int]},
        {"a": list[Point], "b": list[Model]},
        {"a": list[Point], "b": int},
    ],
    ids=str,
)
def test_a_handler_whose_parameters_do_not_fit_a_chunk_is_refused(annotations):
    def none(): ...
    def one(a): ...
    def two(a, b): ...

    function = (none, one, two)[len(annotations)]
    function.__annotations__ = annotations
    with pytest.raises(InvalidArgumentsError, match="takes chunks, but its parameters do not"):
        App().task(name="t", chunk=10)(function)


@pytest.mark.parametrize(
    "options",
    [
        {"chunk": 0},
        {"chunk": 1001},
        {"chunk": True},
        {"chunk": 2.5},
        {"chunk": 5, "chunk_wait": "2m"},
        {"chunk_wait": 1},
    ],
    ids=str,
)
def test_invalid_options_of_chunks_are_refused(options):
    with pytest.raises(InvalidOptionError, match="chunk"):
        App().task(name="t", **options)(lambda jobs: None)


# ---------------------------------------------------------------- outcomes

# For each name: what the handler returns for a job, and the state in which the job must end.
ENDS: dict[str, Any] = {
    "nothing": (None, "completed"),
    "value": ({"a": 1}, "completed"),
    "error": (ValueError("no"), "retrying"),
    "retry": (Retry(after=9), "retrying"),
    "snooze": (Snooze(9), "pending"),
    "cancel": (Cancel("stop"), "cancelled"),
    "dead": (Dead("over"), "dead"),
    "unstorable": (object(), "dead"),
    "bad": (None, "dead"),
}


@pytest.mark.parametrize("way", ["thread", "async on a thread", "loop"])
@pytest.mark.parametrize("layered", [False, True], ids=["without middleware", "with middleware"])
@settings(deadline=None, max_examples=50)
@given(plan=st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=12))
def test_each_job_of_a_chunk_gets_its_own_outcome_in_every_mix_of_outcomes(way, layered, plan):
    app, story = App(), []
    if layered:

        @app.middleware
        def see(call: Call) -> Iterator[None]:
            story.append(("in", call.arguments.x))
            try:
                yield
            finally:
                story.append(("out", call.arguments.x))

        @app.middleware
        async def see_too(call: Call) -> AsyncIterator[None]:
            await asyncio.sleep(0)
            yield

    def outcomes(items: list[Point]) -> list[Any]:
        return [ENDS[plan[item.x]][0] for item in items]

    if way == "thread":

        @app.task(name="t", chunk=100, retry=[1, 2])
        def t(items: list[Point]) -> list[Any]:
            return outcomes(items)
    else:

        @app.task(name="t", chunk=100, retry=[1, 2])
        async def t(items: list[Point]) -> list[Any]:
            await asyncio.sleep(0)
            return outcomes(items)

    attempts = [row(n, f'{{"x": {n}}}' if kind != "bad" else '{"x": "no"}') for n, kind in enumerate(plan)]
    found = performed(app, t.spec, attempts, way)
    assert [outcome.state for outcome in found] == [ENDS[kind][1] for kind in plan]
    for outcome, kind in zip(found, plan, strict=True):
        assert isinstance(outcome, Outcome)
        assert (outcome.result is not None) == (kind == "value")
        assert outcome.reason == {"bad": "bad_arguments", "dead": "given_up", "unstorable": "bad_result"}.get(
            kind, outcome.reason
        )
    if layered:
        good = [n for n, kind in enumerate(plan) if kind != "bad"]
        assert story == [("in", n) for n in good] + [("out", n) for n in reversed(good)]


ADVICE = (
    "why: it is not clear which result belongs to which job, so all of them failed"
    "  do: return a list with one outcome for each job, in their order, or None"
)


@pytest.mark.parametrize("way", ["thread", "loop"])
@pytest.mark.parametrize("wrong", [[1], [1, 2, 3, 4], "abc", 7, {}])
def test_all_jobs_of_a_chunk_fail_if_the_handler_returns_a_wrong_number_of_outcomes(way, wrong):
    app = App()

    @app.task(name="t", chunk=9)
    async def t(jobs: list[Job]) -> Any:
        return wrong

    found = performed(app, t.spec, [row(n, "{}") for n in range(3)], way)
    said = count(len(wrong), "outcome") if isinstance(wrong, list) else f"a {type(wrong).__name__}"
    assert {(outcome.state, outcome.error) for outcome in found if outcome} == {
        ("retrying", f"WrongOutcomesError: PGQ-609  Task t returned {said} for 3 jobs.  {ADVICE}")
    }
    assert len(found) == 3


@pytest.mark.parametrize("way", ["thread", "loop"])
def test_all_jobs_of_a_chunk_fail_with_equally_long_tracebacks_if_the_handler_raises(way):
    app = App()

    @app.middleware
    def pass_on(_call: Call) -> Iterator[None]:
        yield

    @app.task(name="t", chunk=9)
    async def t(jobs: list[Job]) -> None:
        raise KeyError("x")

    found = performed(app, t.spec, [row(n, "{}") for n in range(5)], way)
    assert [outcome.error for outcome in found] == ["KeyError: 'x'"] * 5
    lengths = [len((outcome.traceback or "").splitlines()) for outcome in found]
    assert max(lengths) == min(lengths) > 5


@pytest.mark.parametrize("way", ["thread", "loop"])
def test_the_error_of_a_job_shows_no_secret_value_of_another_job_of_its_chunk(way):
    app = App()

    @app.task(name="t", chunk=9)
    async def t(jobs: list[Job]) -> None:
        raise ValueError([job.args for job in jobs])

    found = performed(app, t.spec, [row(n, f'{{"password": "hunter-{n}-sesame"}}') for n in range(3)], way)
    for outcome in found:
        assert isinstance(outcome, Outcome)
        assert "hunter" not in f"{outcome.error} {outcome.traceback}"
        assert (outcome.error or "").count("[redacted]") == 3


# ---------------------------------------------------------------- how jobs are gathered into chunks, and how each of them ends


class Stage:
    """A runner with one chunked task. ``ended``: the reason of each job's outcome."""

    def __init__(self, app: App, slots: int = 20, executor: str = "async") -> None:
        self.ended: dict[int, str] = {}
        self.runner = Runner(
            app, slots=slots, executor=executor, app_path=None, crash_limit=3, done=self._done
        )

    def _done(self, attempt: Attempt, outcome: Conclusion) -> None:
        assert attempt.id not in self.ended, "the attempt ended twice"
        self.ended[attempt.id] = reason_of(outcome)

    async def idle(self) -> None:
        async with asyncio.timeout(10):
            await self.runner.wait_idle()


@pytest.mark.parametrize(("slots", "sizes"), [(20, [8, 8, 4]), (5, [5, 5, 5, 5])])
def test_jobs_that_arrive_within_chunk_wait_form_chunks_no_larger_than_chunk_and_the_number_of_slots(
    slots, sizes
):
    app, found = App(), []

    @app.task(name="t", chunk=8, chunk_wait=0.05)
    async def t(jobs: list[Job]) -> None:
        found.append(len(jobs))

    async def play() -> None:
        stage = Stage(app, slots)
        stage.runner.take([row(n, "{}") for n in range(13)])
        stage.runner.take([row(n, "{}") for n in range(13, 20)])
        await stage.idle()
        assert list(stage.ended.values()) == ["completed"] * 20

    asyncio.run(play())
    assert found == sizes


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_each_job_of_a_chunk_is_cancelled_lost_or_timed_out_separately(executor):
    app = App()
    go_on = asyncio.Event()
    seen: list[int] = []

    @app.task(name="t", chunk=4)
    async def t(jobs: list[Job]) -> list[int]:
        seen.extend(job.id for job in jobs)
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        return [job.id for job in jobs]

    async def play() -> None:
        stage = Stage(app, executor=executor)
        attempts = [row(0, "{}", timeout=0.05), row(1, "{}"), row(2, "{}"), row(3, "{}")]
        stage.runner.take(attempts)
        while len(seen) < 4 or len(stage.ended) < 1:
            await asyncio.sleep(0.005)
        assert stage.ended == {0: "failed"}
        stage.runner.cancel([1])
        with pytest.raises(Cancel):
            attempts[1].check()  # the handler can ask whether the job was cancelled
        attempts[2].end(Ending.LOST)
        stage.runner._running[attempts[2]].stop(attempts[2])
        assert stage.ended == {0: "failed", 1: "cancelled", 2: "LEASE_LOST"}
        go_on.set()
        await stage.idle()
        assert stage.ended == {0: "failed", 1: "cancelled", 2: "LEASE_LOST", 3: "completed"}
        stage.runner.close()

    asyncio.run(play())


@pytest.mark.parametrize("give_up", ["timeout", "cancel", "lose", "release"])
@pytest.mark.parametrize("gathering", [True, False], ids=["gathering", "called"])
def test_the_call_of_a_chunk_is_stopped_when_all_its_jobs_have_ended(give_up, gathering):
    app, stopped = App(), []
    begun = asyncio.Event()

    @app.task(name="t", chunk=4, chunk_wait=60 if gathering else 0)
    async def t(jobs: list[Job]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(len(jobs))
            raise

    async def play() -> None:
        stage = Stage(app)
        timeout = 0.05 if give_up == "timeout" and not gathering else None
        attempts = [row(n, "{}", timeout=timeout) for n in range(3)]
        stage.runner.take(attempts)
        if not gathering:
            async with asyncio.timeout(5):
                await begun.wait()
        match give_up:
            case "cancel":
                stage.runner.cancel([0, 1, 2])
            case "lose":
                stage.runner.lose()
            case "release":
                assert stage.runner.release_running() == 3
            case "timeout" if gathering:
                stage.runner.release_running()
        await stage.idle()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reason = {"timeout": "failed", "cancel": "cancelled", "lose": "LEASE_LOST", "release": "released"}[
            give_up
        ]
        if give_up == "timeout" and gathering:
            reason = "released"
        assert stage.ended == dict.fromkeys(range(3), reason)

    asyncio.run(play())
    assert stopped == ([] if gathering else [3])


def test_a_thread_that_outlives_the_timeout_is_interrupted_and_all_its_jobs_fail():
    app, interrupted = App(), []

    @app.task(name="t", chunk=4)
    def t(jobs: list[Job]) -> None:
        try:
            while True:
                time.sleep(0.005)
        except BaseException:
            interrupted.append(len(jobs))
            raise

    async def play() -> None:
        stage = Stage(app)
        stage.runner.take([row(n, "{}", timeout=0.1) for n in range(3)])
        await stage.idle()
        assert stage.ended == dict.fromkeys(range(3), "failed")
        stage.runner.close()

    asyncio.run(play())
    assert interrupted == [3]
