"""Handlers in child processes, and handlers on threads that fork.

The tests show what such processes inherit, which processes end together with a handler or a worker, and how child processes start.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgqueue.model.outcome import Outcome
from pgqueue.runtime import origin
from pgqueue.worker import forked
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running.runner import Runner
from tests import factories
from tests.apps import child_tasks
from tests.conclusions import reason_of
from tests.pids import is_gone
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXECUTORS = ("process", "thread")


def attempt(task: str, args: dict[str, Any], job_id: int = 1, timeout: float | None = None) -> Attempt:
    return factories.attempt(job_id, task, json.dumps(args), timeout=timeout, max_attempts=1)


def perform(
    *tasks: str,
    executor: str = "process",
    timeout: float | None = None,
    meanwhile: Callable[[Runner], Any] = lambda _: None,
    **args: Any,
) -> list[Conclusion]:
    """Performs the tasks one after the other with one runner; returns their outcomes. During each task, ``meanwhile`` runs on a thread."""
    done: list[Conclusion] = []
    mine = os.getpid()

    def note(_: Attempt, outcome: Conclusion) -> None:
        if os.getpid() != mine:
            os._exit(1)  # this process is a fork that acts as if it were the worker
        done.append(outcome)

    async def play() -> None:
        forked.begin()
        runner = Runner(
            child_tasks.app, slots=1, executor=executor, app_path=child_tasks.PATH, crash_limit=3, done=note
        )
        for number, task in enumerate(tasks):
            given = args if task != "nothing" else {}
            runner.take([attempt(task, given, number, timeout)])
            async with asyncio.timeout(60):
                await asyncio.gather(runner.wait_idle(), asyncio.to_thread(meanwhile, runner))
        runner.close()

    asyncio.run(play())
    return done


def results(outcomes: list[Conclusion]) -> list[Any]:
    assert all(outcome is not None and outcome.state == "completed" for outcome in outcomes), outcomes
    return [outcome.result and json.loads(outcome.result) for outcome in outcomes]


def noted(path: Path) -> list[int]:
    wait_until(path.exists)
    return [int(pid) for pid in path.read_text().split()]


# ---------------------------------------------------------------- what child processes and forks inherit


def test_a_handler_in_a_child_process_reads_nothing_from_stdin_even_if_another_job_follows() -> None:
    assert results(perform("read_stdin", "nothing")) == ["", None]


def test_neither_programs_nor_forks_of_a_handler_inherit_the_socket_to_the_worker() -> None:
    assert results(perform("look_for_the_way")) == [0]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("task", "result"),
    [("pool", [1, 2]), ("terminate", -signal.SIGTERM), ("terminate_program", -signal.SIGTERM)],
)
def test_processes_that_a_handler_starts_can_be_terminated(executor: str, task: str, result: Any) -> None:
    assert results(perform(task, "nothing", executor=executor)) == [result, None]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_fork_that_returns_from_its_handler_does_not_act_as_a_worker(executor: str, tmp_path: Path) -> None:
    outcomes = perform("return_twice", "nothing", executor=executor, pids=str(tmp_path / "pids"))
    [fork] = noted(tmp_path / "pids")
    assert results(outcomes) == [fork, None]
    wait_until(lambda: is_gone(fork))


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_a_fork_made_while_arguments_are_decoded_does_not_act_as_a_worker(
    executor: str, tmp_path: Path
) -> None:
    outcomes = perform("fork_while_it_is_decoded", "nothing", executor=executor, pids=str(tmp_path / "pids"))
    [fork] = noted(tmp_path / "pids")
    assert results(outcomes) == [None, None]
    codes: list[int] = []

    def has_ended() -> bool:
        pid, status = os.waitpid(fork, os.WNOHANG)
        codes.extend([os.waitstatus_to_exitcode(status)] if pid else [])
        return bool(codes)

    wait_until(has_ended)
    assert codes == [0]


@pytest.mark.parametrize("number", forked.STOPS)
def test_a_child_is_not_ended_by_a_signal_to_its_process_group(
    number: signal.Signals, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    def send(_: Runner) -> None:
        [child] = noted(pids)
        for _ in range(3):
            os.killpg(child, number)
        (tmp_path / "pids.sent").touch()

    assert results(perform("hold_signals", pids=str(pids), meanwhile=send)) == ["undisturbed"]


# ---------------------------------------------------------------- processes that end with a handler or with a worker


@pytest.mark.parametrize("give_up", ["timeout", "cancel", "release", "lose"])
def test_all_processes_that_a_handler_has_started_end_when_the_handler_ends(
    give_up: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    def end(runner: Runner, loop: asyncio.AbstractEventLoop) -> None:
        noted(pids)
        calls: dict[str, Callable[[], Any]] = {
            "cancel": lambda: runner.cancel([0]), "release": runner.release_running, "lose": runner.lose,
        }  # fmt: skip
        if give_up in calls:
            loop.call_soon_threadsafe(calls[give_up])

    async def play() -> list[Conclusion]:
        done: list[Conclusion] = []
        runner = Runner(
            child_tasks.app, slots=1, executor="process", app_path=child_tasks.PATH, crash_limit=3,
            done=lambda _, outcome: done.append(outcome),
        )  # fmt: skip
        runner.take([attempt("fork_and_wait", {"pids": str(pids)}, 0, 2.0 if give_up == "timeout" else None)])
        await asyncio.to_thread(end, runner, asyncio.get_running_loop())
        async with asyncio.timeout(30):
            await runner.wait_idle()
        await asyncio.to_thread(wait_until, lambda: all(is_gone(pid) for pid in noted(pids)))
        runner.close()
        return done

    [outcome] = asyncio.run(play())
    reasons = {
        "timeout": "attempts_exhausted",
        "cancel": "cancelled",
        "release": "released",
        "lose": "LEASE_LOST",
    }
    assert reason_of(outcome) == reasons[give_up]


def test_a_child_that_is_stopped_just_before_the_loop_ends_leaves_no_socket_open(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def play() -> None:
        runner = Runner(
            child_tasks.app, slots=1, executor="process", app_path=child_tasks.PATH, crash_limit=3, done=lambda *_: None
        )  # fmt: skip
        runner.take([attempt("fork_and_wait", {"pids": str(pids)})])
        await asyncio.to_thread(noted, pids)
        runner.release_running()
        await asyncio.sleep(0)  # the child gets a signal to end, but the loop ends before the child
        runner.close()

    asyncio.run(play())
    gc.collect()  # warns of each socket that is still open, and a warning is an error here
    wait_until(lambda: all(is_gone(pid) for pid in noted(pids)))


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "it exited with 0"), (9, "it exited with 9"), (255, "it exited with 255"), (-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV")],
)  # fmt: skip
def test_the_end_of_a_child_is_reported_with_its_exit_code_even_if_its_fork_lives(
    code: int, said: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    [outcome] = perform("fork_and_end", pids=str(pids), code=code)
    assert isinstance(outcome, Outcome)
    assert outcome.crashed
    assert outcome.error == f"ProcessDiedError: PGQ-602  The process that ran it died: {said}."
    wait_until(lambda: all(is_gone(pid) for pid in noted(pids)))


def test_all_processes_of_a_worker_end_when_the_worker_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    worker = subprocess.Popen([sys.executable, "-m", "tests.apps.child_tasks", str(pids)], cwd=ROOT)
    started = noted(pids)
    worker.kill()
    worker.wait()
    wait_until(lambda: all(is_gone(pid) for pid in started))


def test_no_attempt_is_counted_when_an_idle_child_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "pids.sent").touch()

    def kill(_: Runner) -> None:
        [child] = noted(pids)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: "pgqueue waits" not in {thread.name for thread in threading.enumerate()})
        pids.unlink()

    done: list[Conclusion] = []

    async def play() -> None:
        runner = Runner(
            child_tasks.app, slots=1, executor="process", app_path=child_tasks.PATH, crash_limit=3,
            done=lambda _, outcome: done.append(outcome),
        )  # fmt: skip
        for number in range(2):
            runner.take([attempt("hold_signals", {"pids": str(pids)}, number)])
            async with asyncio.timeout(30):
                await runner.wait_idle()
            await asyncio.to_thread(kill, runner)
        runner.close()

    asyncio.run(play())
    assert results(done) == ["undisturbed"] * 2


# ---------------------------------------------------------------- how child processes are started


def test_children_start_with_the_folder_and_the_environment_that_their_worker_had_at_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After the worker's start, its app or a handler on a thread can have changed the folder, the arguments or the environment."""

    def change(_: Runner) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [])
        monkeypatch.setattr(sys, "executable", "/nowhere")
        monkeypatch.setenv("PYTHONHOME", "/nowhere")

    async def play() -> list[Conclusion]:
        done: list[Conclusion] = []
        runner = Runner(
            child_tasks.app, slots=1, executor="process", app_path=child_tasks.PATH, crash_limit=3,
            done=lambda _, outcome: done.append(outcome),
        )  # fmt: skip
        change(runner)
        runner.take([attempt("nothing", {})])
        async with asyncio.timeout(30):
            await runner.wait_idle()
        runner.close()
        return done

    assert results(asyncio.run(play())) == [None]


def no_permission(patch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    patch.setattr(origin, "EXECUTABLE", str(tmp_path))
    return "Permission denied"


def no_folder(patch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    patch.setattr(origin, "FOLDER", str(tmp_path / "gone"))
    return "No such file or directory"


def no_module(patch: pytest.MonkeyPatch, _: Path) -> str:
    patch.setattr(child_tasks, "PATH", "tests.stages.nowhere:app")
    return "There is no module 'tests.stages.nowhere'"


@pytest.mark.parametrize("obstacle", [no_permission, no_folder, no_module])
def test_a_job_whose_child_cannot_be_started_is_released_with_a_delay_and_the_reason(
    obstacle: Callable[[pytest.MonkeyPatch, Path], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reason = obstacle(monkeypatch, tmp_path)
    outcomes = perform("nothing", "nothing")
    for outcome in outcomes:
        assert isinstance(outcome, Outcome)
        assert (outcome.state, outcome.counted, outcome.crashed, outcome.begun) == (
            "pending",
            False,
            False,
            False,
        )
        assert 0 < outcome.delay <= 1
        assert reason in (outcome.error or "")
    # the second job came so soon after the first failure that the runner did not try to start a child for it
    assert len([line for line in caplog.messages if "no child process could be started" in line]) == 1
