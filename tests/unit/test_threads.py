"""An attempt on a thread is interrupted only while it runs, and at no other moment."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pgqueue import App
from pgqueue.runtime.interruption import here, uninterrupted
from pgqueue.worker.ending import Ending
from pgqueue.worker.running import threads
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.running.threads import InterruptedByTimeout
from tests.runner_alone import attempt, played

raise_in = threads.raise_in


def touched_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Returns a list, to which each thread is added when it is interrupted. A thread of an earlier test can be added, too, so look only for your own threads."""
    touched: list[threading.Thread] = []
    monkeypatch.setattr(
        threads, "raise_in", lambda ident: touched.append(threading._active[ident]) or raise_in(ident)
    )
    return touched


def test_a_thread_is_not_interrupted_if_its_attempt_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption that is withdrawn before it is raised would do harm, too: a flag of the interpreter stays set.

    On Python 3.11, a worker under a tracer hangs because of this flag.
    """
    touched, ours = touched_threads(monkeypatch), []
    app = App()

    @app.task(name="quick")
    def quick() -> None:
        ours.append(threading.current_thread())

    assert {o.state for o in played(app, [[attempt(n, "quick", 60.0) for n in range(50)]]).values()} == {
        "completed"
    }
    assert len(ours) == 50
    assert not set(touched) & set(ours)


def test_a_traced_handler_runs_on_a_thread_whose_last_handler_was_interrupted() -> None:
    app = App()

    @app.task(name="slow")
    def slow() -> None:
        while True:
            time.sleep(0.001)

    @app.task(name="traced")
    def traced() -> int:
        sys.settrace(lambda *_: None)
        try:
            return sum(len(str(n)) for n in range(1000))
        finally:
            sys.settrace(None)

    ended = played(app, [[attempt(1, "slow", 0.05), attempt(2, "traced")]])
    assert (ended[1].state, ended[2].state) == ("retrying", "completed")
    assert "longer than its timeout" in str(ended[1].error)


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("why", [Ending.TIMED_OUT, Ending.LOST])
def test_an_interruption_that_comes_too_late_does_not_hit_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch, why: Ending, *, swallows: bool
) -> None:
    """The handler swallows the interruption, or returns before the interruption is raised. The next attempt on the thread runs to its end."""
    app, ours, touched = App(), [], touched_threads(monkeypatch)

    @app.task(name="late")
    def late() -> None:
        mine: Any = here.thread
        mine.current.end(why)
        try:
            mine.interrupt(mine.current)
            while swallows:
                pass
        except InterruptedByTimeout:
            return

    @app.task(name="long")
    def long() -> str:
        ours.append(threading.current_thread())
        return "".join(str(n % 10) for n in range(100_000))[-3:]

    ended = played(app, [[attempt(n, "late"), attempt(n + 1, "long")] for n in range(0, 10, 2)], lenient=True)
    assert {ended[n] and ended[n].state for n in range(1, 10, 2)} == {"completed"}
    assert len(set(ours)) == 1
    # Two calls for each of the 5 handlers: one interrupts the handler, and one ends the interruption.
    assert touched.count(ours[0]) == 10


@pytest.mark.parametrize("is_async", [False, True])
def test_an_interruption_does_not_hit_the_import_of_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    """A module whose import was interrupted would stay half made in this process, and every later use of it would fail."""
    monkeypatch.setattr(threads, "BLOCKED_AFTER", 0.05)
    name = f"slowly_imported_{is_async}"
    slow = "import time\nfor part in range(30):\n    time.sleep(0.01)\nwhole = True\n"
    (tmp_path / f"{name}.py").write_text(slow)
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App()

    def import_slowly() -> None:
        import_module(name)
        while True:
            time.sleep(0.001)

    if is_async:

        @app.task(name="importing")
        async def importing() -> None:
            import_slowly()
    else:
        app.task(name="importing")(import_slowly)

    ended = played(app, [[attempt(1, "importing", 0.1)]], executor="thread")
    assert "longer than its timeout" in str(ended[1].error)
    assert sys.modules.pop(name).whole


def test_an_interruption_does_not_hit_the_start_of_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python could raise it in the new thread. Then the new thread ends at once, and ``Thread.start`` in the handler waits for ever."""
    starter = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    start = getattr(threading, starter)
    begun: list[str] = []
    app = App()

    def start_slowly(*args: Any, **more: Any) -> Any:
        if here.thread is not None:
            for _ in range(30):
                time.sleep(0.01)
            begun.append("whole")
        return start(*args, **more)

    @app.task(name="starting")
    def starting() -> None:
        threading.Thread(target=list).start()
        while True:
            time.sleep(0.001)

    monkeypatch.setattr(threading, starter, start_slowly)
    ended = played(app, [[attempt(1, "starting", 0.1)]], executor="thread")
    assert "longer than its timeout" in str(ended[1].error)
    assert begun == ["whole"]


def test_an_interruption_waits_for_the_end_or_a_gap_of_an_uninterrupted_block() -> None:
    app = App()
    seen: list[str] = []

    @app.task(name="halfway")
    def halfway(gaps: bool) -> None:
        with uninterrupted() as gap:
            while not here.thread.interrupted:
                time.sleep(0.001)
            seen.append("shielded")
            try:
                with gap() if gaps else nullcontext():
                    seen.append("in between")
            finally:
                seen.append("put back")
        seen.append("after")

    @app.task(name="next")
    def following() -> None:
        with uninterrupted():
            seen.append("next")

    ended = played(
        app,
        [
            [attempt(1, "halfway", timeout=0.05, gaps=False)],
            [attempt(2, "halfway", timeout=0.05, gaps=True)],
            [attempt(3, "next")],
        ],
        executor="thread",
    )
    assert seen == ["shielded", "in between", "put back", "shielded", "put back", "next"]
    assert [ended[n].state for n in (1, 2, 3)] == ["retrying", "retrying", "completed"]


def test_uninterrupted_blocks_work_as_before_after_an_interruption_in_a_gap() -> None:
    app = App()
    seen: list[bool] = []

    @app.task(name="gap")
    def interrupted() -> None:
        thread: Any = here.thread
        try:
            with uninterrupted() as gap:
                while not thread.interrupted:
                    time.sleep(0.001)
                with gap():
                    pass
        finally:
            seen.append(thread.shielded)
            with uninterrupted():
                with uninterrupted() as gap:
                    seen.append(thread.shielded)
                    with gap():
                        seen.append(thread.shielded)
                seen.append(thread.shielded)
            seen.append(thread.shielded)

    played(app, [[attempt(1, "gap", timeout=0.05)]])
    assert seen == [False, True, True, True, False]


@pytest.mark.parametrize("why", ["lost", "timed_out"])
def test_an_attempt_that_is_lost_or_timed_out_before_it_gets_a_thread_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """The system can start only one thread, and another attempt runs on it."""
    app = App()
    go_on, begun, ended = threading.Event(), [], []

    @app.task(name="hold")
    def hold() -> None:
        begun.append("hold")
        go_on.wait(30)

    @app.task(name="late")
    def late() -> None:
        begun.append("late")

    @app.task(name="last")
    def last() -> None:
        begun.append("last")

    async def play() -> None:
        runner = Runner(
            app, slots=3, executor="thread", app_path=None, crash_limit=3, done=lambda one, _: ended.append(one.id)
        )  # fmt: skip
        runner.take([attempt(1, "hold")])
        monkeypatch.setattr(threads, "_Thread", no_thread_left)
        behind = attempt(2, "late", 0.01 if why == "timed_out" else None)
        runner.take([behind])
        if why == "lost":
            runner.lose([behind])
        runner.take([attempt(3, "last")])
        async with asyncio.timeout(30):
            while not behind.ending:
                await asyncio.sleep(0.01)
            go_on.set()
            await runner.wait_idle()
        runner.close()

    asyncio.run(play())
    assert begun == ["hold", "last"]
    assert sorted(ended) == [1, 2, 3]


def no_thread_left(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_whose_handler_ignored_its_interruption_gets_no_more_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "DEAF", 0.05)
    app = App()
    go_on, deaf_ones, alive = threading.Event(), [], []

    @app.task(name="deaf")
    def deaf() -> None:
        deaf_ones.append(threading.current_thread())
        while not go_on.wait(30):
            pass

    @app.task(name="next")
    def following() -> None:
        go_on.set()
        deaf_ones[0].join(20)
        alive.append(deaf_ones[0].is_alive())

    ended = played(app, [[attempt(1, "deaf", 0.05)], [attempt(2, "next")]])
    assert (ended[1].state, ended[2].state) == ("retrying", "completed")
    assert alive == [False]
