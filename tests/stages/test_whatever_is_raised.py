"""Code of users can raise any exception at any place. The attempt still ends with an outcome, and the next attempt runs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pgqueue import App
from pgqueue.model.outcome import Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.running.conclusions import failed
from pgqueue.worker.running.runner import Runner
from tests import factories
from tests.apps import raising_tasks

SLOTS = 6
PATIENCE = 60.0


def attempt(job_id: int, task: str, deed: str = "", **other: Any) -> Attempt:
    args = json.dumps(other.pop("args", {"deed": deed}))
    return factories.attempt(job_id, task, args, **other)


def played(
    app: App, attempts: list[Attempt], *, executor: str, path: str = "none:app", slots: int = SLOTS
) -> dict[int, Conclusion]:
    """Runs the attempts, and returns the outcome of each."""
    ended: dict[int, Conclusion] = {}

    async def play() -> None:
        def note(one: Attempt, outcome: Conclusion) -> None:
            assert one.id not in ended, "the attempt ended twice"
            ended[one.id] = outcome

        runner = Runner(app, slots=slots, executor=executor, app_path=path, crash_limit=3, done=note)
        try:
            runner.take(attempts)
            async with asyncio.timeout(PATIENCE):
                await runner.wait_idle()
        finally:
            runner.close()

    asyncio.run(play())
    return ended


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL):
        yield


@pytest.mark.parametrize("layers", ["bare", "layered"])
@pytest.mark.parametrize("task", ["plain", "plain_async", "chunk", "chunk_async"])
@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_an_attempt_ends_with_an_outcome_whatever_is_raised_and_other_attempts_complete(
    executor: str, task: str, layers: str
) -> None:
    """Between two attempts that raise, there is an attempt that does not raise (a neighbour). All neighbours must complete."""
    app = getattr(raising_tasks, layers)
    places = [place for place in raising_tasks.PLACES if layers == "layered" or "middleware" not in place]
    deeds = [f"{place}: {what}" for place in places for what in raising_tasks.RAISED]
    attempts, wrong = [], []
    for number, deed in enumerate(deeds):
        attempts += [attempt(2 * number, task, deed), attempt(2 * number + 1, "plain_async")]
    ended = played(app, attempts, executor=executor, path=f"tests.apps.raising_tasks:{layers}")
    assert len(ended) == len(attempts)
    for number, deed in enumerate(deeds):
        outcome, neighbour = ended[2 * number], ended[2 * number + 1]
        assert isinstance(neighbour, Outcome), deed
        assert neighbour.state == "completed", deed
        if not isinstance(outcome, Outcome) or outcome.state == "completed" or outcome.crashed:
            wrong.append((deed, outcome))
    assert not wrong


@pytest.mark.parametrize("what", raising_tasks.RAISED)
@pytest.mark.parametrize("timed_out", [False, True])
def test_a_job_is_retried_and_the_class_of_the_error_is_stored_if_the_error_cannot_be_read(
    what: str, timed_out: bool
) -> None:
    one = attempt(1, "plain", timeout=1.0)
    if timed_out:
        one.end(Ending.TIMED_OUT)
    outcome = failed(raising_tasks.bare.tasks["plain"].spec, one, raising_tasks.ClasslessError(what))
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.reason) == ("retrying", "failed")
    assert str(outcome.error).startswith("JobTimeoutError" if timed_out else "ClasslessError")


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_attempts_get_the_right_outcomes_although_a_logging_handler_raises(executor: str) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit(record.getMessage())

    logger, broken = logging.getLogger("pgqueue"), Broken()
    logger.addHandler(broken)
    logger.setLevel(logging.INFO)
    try:
        deeds = [attempt(n, "plain_async", "it raises: Exception") for n in range(3)]
        ended = played(raising_tasks.bare, [*deeds, attempt(9, "plain_async")], executor=executor)
    finally:
        logger.removeHandler(broken)
        logger.setLevel(logging.NOTSET)
    assert {n: outcome.state for n, outcome in ended.items()} == {
        0: "retrying", 1: "retrying", 2: "retrying", 9: "completed"
    }  # fmt: skip


def test_a_child_process_restores_its_context_and_locale_after_each_job() -> None:
    """One child process performs all attempts, one after the other."""
    tasks = ["spoil", "spoil_async", "spoil", "spoil_async"]
    ended = played(
        raising_tasks.bare, [attempt(n, task, args={}) for n, task in enumerate(tasks)], executor="process",
        path="tests.apps.raising_tasks:bare", slots=1,
    )  # fmt: skip
    assert {outcome.result for outcome in ended.values()} == {'"none 0.3333333333333333333333333333 True"'}


def test_an_attempt_is_retried_and_other_attempts_run_if_its_thread_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("pgqueue.worker.running.threads._Thread", refuse)
    ended = played(raising_tasks.bare, [attempt(1, "plain"), attempt(2, "plain_async")], executor="async")
    assert [ended[n] and ended[n].state for n in (1, 2)] == ["retrying", "completed"]  # type: ignore[union-attr]
