"""Tests of how a worker ends. It claims no more jobs, and releases the attempts that have not begun. It waits for its running attempts, and releases attempts that take too long. Finally it settles all outcomes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pgqueue import App
from pgqueue.model.outcome import Outcome
from pgqueue.worker import stopping
from pgqueue.worker.ending import Ending
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.settler import Settler
from pgqueue.worker.stopping import finish
from tests.factories import attempt
from tests.unit.fake_link import FakeLink


@pytest.mark.parametrize(
    ("way", "left", "settled"),
    [
        ("the handler ends in time", 0, {1: "completed", 2: "released"}),
        ("the grace period ends", 1, {1: "released", 2: "released"}),
        ("hurry", 1, {1: "released", 2: "released"}),
    ],
)
def test_running_attempts_and_attempts_that_have_not_begun_are_settled_before_the_worker_ends(
    way: str, left: int, settled: dict[int, str]
) -> None:
    app, go_on = App(), asyncio.Event()
    written: dict[int, str] = {}

    @app.task(name="t")
    async def t() -> None:
        await go_on.wait()

    def note_done(one: Any, outcome: Any) -> None:
        assert isinstance(outcome, Outcome)
        written[one.id] = outcome.reason
        settler.add(one, outcome)

    link = FakeLink()
    settler = Settler(link, lambda _: None)  # type: ignore[arg-type]

    async def play() -> int:
        runner = Runner(app, slots=1, executor="async", app_path=None, crash_limit=3, done=note_done)
        first, second = attempt(1, "t"), attempt(2, "t")
        runner.take([first, second])
        await asyncio.sleep(0)
        hurry = asyncio.Event()
        if way == "hurry":
            hurry.set()
        if way == "the handler ends in time":
            asyncio.get_running_loop().call_later(0.05, go_on.set)
        claiming = asyncio.create_task(asyncio.sleep(0))
        settling = asyncio.create_task(settler.run())
        async with asyncio.timeout(30):
            found = await finish(
                runner, settler, claiming, settling, grace=0.2 if "grace" in way else 20, hurry=hurry
            )
        assert settling.done()
        assert first.ending is (Ending.RELEASED if found else Ending.NONE)
        assert second.started_at == 0.0, "the second attempt never began"
        return found

    assert asyncio.run(play()) == left
    assert written == settled
    assert set(link.names) == {"settle"} | ({"complete"} if "time" in way else set())


def test_a_worker_ends_after_a_time_limit_if_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "LAST_WRITES", 0.1)

    class Silent(FakeLink):
        async def once(self, statement: Any) -> Any:
            await asyncio.Event().wait()

    async def play() -> None:
        runner = Runner(App(), slots=1, executor="async", app_path=None, crash_limit=3, done=lambda *_: None)
        settler = Settler(Silent(), lambda _: None)  # type: ignore[arg-type]
        settler.add(attempt(1, "t"), Outcome.released())
        settling = asyncio.create_task(settler.run())
        claiming = asyncio.create_task(asyncio.Event().wait())  # a claim that hangs
        async with asyncio.timeout(20):
            assert await finish(runner, settler, claiming, settling, grace=0.05, hurry=asyncio.Event()) == 0  # type: ignore[arg-type]
        assert claiming.cancelled()
        assert settling.cancelled()

    asyncio.run(play())
