"""Runs handlers in child processes. A child can be killed, so a timeout, a cancel or a crash ends one call and no other call.

A child makes one call at a time. The child decides the conclusions of the attempts, because only the child has the exception. After a
call, the child is kept for a later call. A new child is started only if all children are in use.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Generic

from pgqueue.errors import InvalidSettingError, ProcessDiedError
from pgqueue.model.outcome import Outcome
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.services import hidden_task
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import ChildNotStarted
from pgqueue.text.described import describe
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.confirming import aconfirm
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.running.child_process import ChildProcess, NotStartedError
from pgqueue.worker.running.conclusions import failed, too_late
from pgqueue.worker.running.work import C, Kind, TimeLimit, W, WorkTasks

# Seconds until the next try to start a child: FIRST after one failure, twice as long after each further failure, but at most LONGEST.
FIRST, LONGEST = 1.0, 60.0


class Children(Generic[W, C]):
    """``W`` is the class of the work: an attempt or a chunk.

    ``begun`` is called with the work when its call begins. ``finish`` is called with the work and its conclusions when the call has ended.
    """

    def __init__(
        self,
        app_path: str | None,
        crash_limit: int,
        finish: Callable[[W, C], None],
        kind: Kind[W, C],
        begun: Callable[[W], object] = lambda _: None,
        *,
        keep_logs: bool = False,
    ) -> None:
        self._app_path, self._crash_limit, self._finish = app_path, crash_limit, finish
        self._kind, self._begun, self._keep_logs = kind, begun, keep_logs
        self._environment = dict(os.environ)  # a copy, because handlers can change os.environ
        self._idle: list[ChildProcess] = []
        self._at_work: dict[W, ChildProcess] = {}
        self._tasks = WorkTasks[W](hidden_task, self._end_unbegun)
        self._failures = 0  # failures to start a child, since the last success
        self._not_before = 0.0
        self._why = ""

    def start(self, spec: TaskSpec, work: W) -> None:
        """Makes a child perform the work."""
        require_app_path(self._app_path, spec)
        for attempt in self._kind.attempts(work):
            attempt.spec = spec  # which values of the job are secret
        self._tasks.start(spec, work, self._perform(spec, work))

    def stop(self, work: W) -> None:
        """Kills the child that performs the work."""
        self._tasks.stop(work)

    def tell(self, work: W, attempt: Attempt) -> None:
        """Reports to the child that this attempt has ended. The handler sees it when it next calls ``check``."""
        child = self._at_work.get(work)
        if child is not None:
            child.tell_ending(attempt)

    def close(self) -> None:
        """Kills the idle children, and all processes that handlers have left in the process groups of these children."""
        for child in self._idle:
            child.kill()

    # ---------------------------------------------------------------- the steps of one call

    async def _perform(self, spec: TaskSpec, work: W) -> None:
        child: ChildProcess | None = None
        try:
            child = await self._child()
            concluded = await self._hand_over(child, spec, work)
            self._idle.append(child)
        except NotStartedError as error:
            concluded = self._postponed(work, error)
        except (asyncio.CancelledError, TimeoutError) as error:
            if child is not None:
                await child.end(0)
            await self._confirm(work)
            concluded = self._kind.failed(spec, work, error)
        except BaseException as error:  # noqa: BLE001 - whatever happens to a child must end only this call
            died = describe(error) if child is None else await child.end()
            await self._confirm(work)
            died_error = ProcessDiedError(f"The process that ran it died: {died}.")
            concluded = self._kind.failed(spec, work, died_error, crashed=True, crash_limit=self._crash_limit)
        self._finish(work, concluded)

    async def _confirm(self, work: W) -> None:
        """Finds out whether attempts whose child was killed have saved their places."""
        for attempt in self._kind.attempts(work):
            if attempt.has_checkpoint is None:
                await aconfirm(attempt)

    async def _hand_over(self, child: ChildProcess, spec: TaskSpec, work: W) -> C:
        """Makes the child perform the work. Leaves out the attempts that ended, or ran out of time, before the child was ready."""
        attempts = self._kind.attempts(work)
        concluded: dict[Attempt, Conclusion] = {}
        for attempt in attempts:
            if (conclusion := _ended_meanwhile(spec, attempt)) is not None:
                concluded[attempt] = conclusion
        held = [attempt for attempt in attempts if attempt not in concluded]
        if held:
            self._at_work[work] = child
            self._begun(work)
            try:
                async with TimeLimit(work):
                    concluded.update(zip(held, await child.perform(held), strict=True))
            finally:
                del self._at_work[work]
        return self._kind.together([concluded[attempt] for attempt in attempts])

    def _postponed(self, work: W, error: Exception) -> C:
        delay = self._not_before - monotonic()
        return self._kind.together([Outcome.postponed(delay, error) for _ in self._kind.attempts(work)])

    def _end_unbegun(self, spec: TaskSpec, work: W) -> None:
        self._finish(work, self._kind.failed(spec, work, asyncio.CancelledError()))

    # ---------------------------------------------------------------- the children

    async def _child(self) -> ChildProcess:
        """Returns an idle child, or starts a new child.

        Raises NotStartedError if no child can be started, or if the pause after a failure is not over.
        """
        while self._idle:
            child = self._idle.pop()
            if not child.has_ended:
                return child
        if monotonic() < self._not_before:
            raise NotStartedError(self._why)
        assert self._app_path is not None
        started: ChildProcess | None = None
        try:
            started = ChildProcess(self._app_path, self._environment, keep_logs=self._keep_logs)
            await started.begin()
        except (OSError, NotStartedError) as error:
            if started is not None:
                await started.end(0)
            if (
                monotonic() >= self._not_before
            ):  # if several starts fail at the same time, only one is reported
                self._note_failure(error)
            raise NotStartedError(self._why) from error
        except BaseException:
            if started is not None:
                started.kill()
            raise
        self._failures = 0
        return started

    def _note_failure(self, error: Exception) -> None:
        pause = min(FIRST * 2.0 ** min(self._failures, 10), LONGEST) * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
        self._failures += 1
        self._not_before = monotonic() + pause
        self._why = f"No child process could be started: {error}"
        emit(ChildNotStarted(error, pause))


def _ended_meanwhile(spec: TaskSpec, attempt: Attempt) -> Conclusion | None:
    late = too_late(spec, attempt)
    if late is None and attempt.ending is not Ending.NONE:
        return failed(spec, attempt, asyncio.CancelledError())
    return late


def require_app_path(app_path: str | None, spec: TaskSpec) -> None:
    """Raises InvalidSettingError if the path of the app is unknown. Without the path, a child cannot import the app."""
    if app_path is None:
        raise InvalidSettingError(
            f"Task {spec.name} runs in a child process, which must be able to import the app.",
            do="start the worker with pgq work -A module:app",
        )
