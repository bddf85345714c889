"""When a worker ends, each of its attempts gets an outcome, even if a claim or a handler hangs."""

from __future__ import annotations

import asyncio

import pytest

from pgqueue import App
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.model.outcome import Outcome
from pgqueue.runtime.services import hidden_tasks
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.settler import Settler
from pgqueue.worker.stopping import finish
from tests.conclusions import reason_of
from tests.races.test_runner_races import attempt

NOWHERE = "postgresql://nowhere"


@pytest.mark.parametrize("claim_hangs", [True, False], ids=["claim_hangs", "claim_ends"])
@pytest.mark.parametrize("end", ["grace", "hurry", "in_time"])
def test_attempts_that_never_began_are_released_if_a_handler_outlasts_the_grace_period(
    end: str, claim_hangs: bool
) -> None:
    """``end`` says why the worker stops waiting for the handler ``long``.

    grace: the grace period is over. hurry: the worker must end immediately. in_time: the handler ends within the grace period.
    """
    app = App()
    go_on = asyncio.Event()
    begun: list[str] = []

    @app.task(name="long")
    async def long() -> None:
        begun.append("long")
        await go_on.wait()

    @app.task(name="short")
    async def short() -> None:
        begun.append("short")

    done: dict[int, Conclusion] = {}

    async def play() -> int:
        runner = Runner(
            app, slots=1, executor="async", app_path=None, crash_limit=3,
            done=lambda ended, outcome: done.update({ended.id: outcome}),
        )  # fmt: skip
        settler = Settler(Link(NOWHERE, "test", Outage(NOWHERE)), lambda _: None)
        runner.take([attempt(0, "long"), *(attempt(n, "short") for n in range(1, 21))])
        while not begun:
            await asyncio.sleep(0)
        hurry = asyncio.Event()
        if end == "hurry":
            hurry.set()
        if end == "in_time":
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        claiming = asyncio.create_task(asyncio.sleep(3600 if claim_hangs else 0))
        async with asyncio.timeout(30):
            left = await finish(
                runner, settler, claiming, asyncio.create_task(settler.run()),
                grace=0.3 if end == "grace" or claim_hangs else 25, hurry=hurry,
            )  # fmt: skip
        assert hidden_tasks(asyncio.get_running_loop()) == []
        return left

    left = asyncio.run(play())
    first, *others = [done[n] for n in range(21)]
    if end == "in_time" and not claim_hangs:
        assert left == 0
        assert isinstance(first, Outcome)
        assert first.state == "completed"
        assert begun == ["long"]
    if end != "in_time":
        assert left == 1
        assert reason_of(first) == "released"
    for outcome in others:
        assert isinstance(outcome, Outcome)
        assert outcome.state == "completed" or (outcome.state, outcome.counted) == ("pending", False)
    if end != "in_time":
        assert {(outcome.reason, outcome.begun) for outcome in others} == {("released", False)}
