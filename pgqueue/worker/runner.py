"""Runs attempts: decides once, for each task, whether on the loop, on a thread or in a child process. Does no SQL.

A claimed attempt waits here for its turn; a freed turn is given on at once, while the outcome is still being settled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pgqueue.app import App
from pgqueue.outcome import Outcome
from pgqueue.task import TaskSpec
from pgqueue.telemetry import is_traced
from pgqueue.worker.attempt import Attempt, failed, perform_async
from pgqueue.worker.children import Children
from pgqueue.worker.threads import Threads

log = logging.getLogger("pgqueue")

SHORT = 0.05  # seconds: jobs longer than this are not claimed ahead
AHEAD = 0.05  # seconds of work to have at hand
MOST_AHEAD = 4  # times the slots


class Runner:
    def __init__(
        self,
        app: App,
        *,
        slots: int,
        executor: str,
        app_path: str | None,
        crash_limit: int,
        done: Callable[[Attempt, Outcome | None], None],
    ) -> None:
        self._app, self._slots, self._executor, self._done = app, slots, executor, done
        self._specs = {name: task.spec for name, task in app.tasks.items()}
        self._waiting: deque[Attempt] = deque()
        self._running: dict[Attempt, Callable[[], object]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._traced = is_traced()  # asked once: the answer costs a look into the environment
        self._ended = asyncio.Event()
        self._seconds: float | None = None
        self._alone: deque[Attempt] = deque()
        self._suspect: Attempt | None = None
        self._threads = Threads(app, self._finish)
        self._children = Children(app_path, crash_limit, self._finish)

    # ---------------------------------------------------------------- taking

    def take(self, attempts: list[Attempt]) -> None:
        """Starts as many as there are turns for. A job that has been at two crashes runs alone (see ``_start_alone``)."""
        for attempt in attempts:
            (self._alone if attempt.crash_count >= 2 else self._waiting).append(attempt)
        self._fill()

    def prefetch(self) -> int:
        """How many attempts to claim beyond the slots: enough short ones that no turn stays empty, none of long ones.

        As many fewer as there are slots while a suspect runs or waits to run alone: nobody else would get a turn.
        """
        if self._alone or self._suspect in self._running:
            return -self._slots
        if self._seconds is None or self._seconds > SHORT:
            return 0
        return min(MOST_AHEAD * self._slots, int(self._slots * AHEAD / max(self._seconds, 1e-4)))

    def __len__(self) -> int:
        return len(self._running)

    def _fill(self) -> None:
        if self._alone or self._suspect in self._running:
            self._start_alone()
            return
        while self._waiting and len(self._running) < self._slots:
            self._start(self._waiting.popleft())

    def _start_alone(self) -> None:
        """A suspect of crash loops runs with nothing beside it, so that a crash condemns the guilty job only."""
        if not self._running:
            self._suspect = self._alone.popleft()
            self._start(self._suspect)

    def _start(self, attempt: Attempt) -> None:
        spec = self._specs[attempt.task]
        match self._where(spec):
            case "async":
                task = asyncio.create_task(self._on_loop(spec, attempt))
                self._tasks.add(task)
                task.add_done_callback(partial(self._end_unbegun, spec, attempt))
                self._running[attempt] = task.cancel
            case "thread":
                self._running[attempt] = self._threads.start(spec, attempt)
            case _:
                self._running[attempt] = self._children.start(spec, attempt)

    def _where(self, spec: TaskSpec) -> str:
        where = spec.executor or self._executor
        return "thread" if where == "async" and not spec.is_async else where

    async def _on_loop(self, spec: TaskSpec, attempt: Attempt) -> None:
        self._finish(attempt, await perform_async(spec, attempt, self._app, traced=self._traced))

    def _end_unbegun(self, spec: TaskSpec, attempt: Attempt, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never takes one: its attempt ends here."""
        self._tasks.discard(task)
        if task.cancelled():
            self._finish(attempt, failed(spec, attempt, asyncio.CancelledError()))

    def _finish(self, attempt: Attempt, outcome: Outcome | None) -> None:
        if self._running.pop(attempt, None) is None:
            return  # it was given up before, as timed out or lost
        if attempt.started_at:
            took = time.monotonic() - attempt.started_at
            self._seconds = took if self._seconds is None else self._seconds + 0.05 * (took - self._seconds)
        if outcome is not None and outcome.error is not None:
            report(attempt, outcome)
        self._ended.set()
        self._done(attempt, outcome)
        self._fill()

    # ---------------------------------------------------------------- giving up

    def cancel(self, job_ids: list[int]) -> None:
        """Stops jobs that were asked to end: the handler is cancelled, or told when it next checks."""
        for attempt in list(self._running):
            if attempt.id in job_ids and not attempt.cancelled:
                attempt.cancelled = True
                self._running[attempt]()

    def lose(self) -> None:
        """Tells every handler that the lease is lost. What has not begun is dropped."""
        for attempt in [*self._waiting, *self._alone]:
            attempt.lost = True
            self._done(attempt, None)
        self._waiting.clear()
        self._alone.clear()
        for attempt, stop in list(self._running.items()):
            attempt.lost = True
            stop()
            if self._where(self._specs[attempt.task]) == "thread":
                self._finish(attempt, None)  # its thread ends when it checks; the slot is needed now

    def release_waiting(self, older_than: float = 0.0) -> None:
        """Hands back attempts that were claimed ahead and have waited too long for a turn."""
        now = time.monotonic()
        for queue in (self._waiting, self._alone) if not older_than else (self._waiting,):
            late = [attempt for attempt in queue if now - attempt.claimed_at >= older_than]
            for attempt in late:
                queue.remove(attempt)
                self._done(attempt, Outcome.released())
            if late and older_than:
                self._seconds = max(self._seconds or 0.0, 2 * SHORT)  # jobs are longer than they seemed

    def release_running(self) -> int:
        """Hands back what still runs; returns how many. Handlers on threads cannot be stopped and lose their lease."""
        running = list(self._running.items())
        for attempt, stop in running:
            attempt.released = True
            stop()
            if self._where(self._specs[attempt.task]) != "async":
                self._finish(attempt, Outcome.released())
        return len(running)

    async def wait_idle(self) -> None:
        """Returns once nothing runs or waits."""
        while self._running or self._waiting or self._alone:
            self._ended.clear()
            await self._ended.wait()

    def close(self) -> None:
        self._threads.close()
        self._children.close()


def report(attempt: Attempt, outcome: Outcome) -> None:
    """One line for an attempt that did not go well."""
    fields: dict[str, Any] = {
        "job_id": attempt.id,
        "task": attempt.task,
        "queue": attempt.queue,
        "attempt": attempt.attempt,
    }
    match outcome.state:
        case "retrying":
            log.warning(
                "job %d (%s) failed, attempt %d of %d, next in %.3g s: %s",
                attempt.id, attempt.task, attempt.attempt, attempt.max_attempts, outcome.delay, outcome.error,
                extra=fields,
            )  # fmt: skip
        case "dead":
            log.error(
                "job %d (%s) is dead (%s): %s",
                attempt.id,
                attempt.task,
                outcome.reason,
                outcome.error,
                extra=fields,
            )
        case "cancelled":
            log.info("job %d (%s) is cancelled: %s", attempt.id, attempt.task, outcome.error, extra=fields)
