"""Runs attempts in a runner that has no database, and returns their outcomes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from pgqueue import App
from pgqueue.model.outcome import Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running.runner import Runner
from tests import factories


@dataclass
class Item:
    """The arguments of one job, for handlers that get the arguments of many jobs in one call (a chunk)."""

    n: int


def attempt(job_id: int, task: str, timeout: float | None = None, **args: Any) -> Attempt:
    """Returns the first attempt of a job with these arguments."""
    return factories.attempt(job_id, task, json.dumps(args), timeout=timeout)


def played(
    app: App, rounds: list[list[Attempt]], executor: str = "async", slots: int = 1, *, lenient: bool = False
) -> dict[int, Outcome]:
    """Runs the attempts and returns their outcomes by job id. The runner gets each round after all attempts of the previous round have ended.

    If ``lenient`` is true, an attempt is also allowed to end with a conclusion that is no ``Outcome``.
    """
    ended: dict[int, Outcome] = {}

    def note(one: Attempt, outcome: Conclusion) -> None:
        assert isinstance(outcome, Outcome) or lenient
        ended[one.id] = outcome  # type: ignore[assignment]

    async def play() -> None:
        runner = Runner(app, slots=slots, executor=executor, app_path=None, crash_limit=3, done=note)
        for attempts in rounds:
            runner.take(attempts)
            async with asyncio.timeout(30):
                await runner.wait_idle()
        runner.close()

    asyncio.run(play())
    return ended
