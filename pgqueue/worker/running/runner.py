"""Runs attempts. Decides once for each task whether they run on the loop, on a thread or in a child process. Does no SQL.

A claimed attempt waits here for its turn. When an attempt ends, the next one gets the turn immediately, while the outcome is still
being settled.

Suspects: if a job ran while its worker crashed, by its own fault or a neighbour's, it is a suspect. From then on it runs in a process of
its own, whatever its executor. There no job can be charged with the crash of another: the next crash condemns the guilty job alone.
All others go on beside it, other suspects too. (If it ran alone in the worker instead, all others would have to wait for it, and it
for them.) Its former neighbours are suspects for one run. When a worker dies, rescue.sql suspects only jobs that ran in the worker itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from pgqueue.app.app import App
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.names import is_reserved
from pgqueue.model.outcome import Outcome
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending, NothingToSettle
from pgqueue.worker.job_facts import emit_ending, emit_start
from pgqueue.worker.running.call import SINGLE
from pgqueue.worker.running.children import Children
from pgqueue.worker.running.chunks import Chunks
from pgqueue.worker.running.conclusions import failed, refused
from pgqueue.worker.running.coroutines import Coroutines
from pgqueue.worker.running.hook_tasks import handlers
from pgqueue.worker.running.job_times import JobTimes
from pgqueue.worker.running.threads import Threads
from pgqueue.worker.running.waiting import Waiting

SUSPECTS = 4  # suspects that run at the same time, each in a process; few, because their workers may have died of a lack of memory
LATER = 5.0  # if a suspect waited too long for its process: seconds until a worker may claim it again


class Executor(Protocol):
    """Performs attempts, and calls the runner's ``_finish`` on the loop with what each comes to."""

    def start(self, spec: TaskSpec, attempt: Attempt) -> None: ...

    def stop(self, attempt: Attempt) -> None:
        """Makes an attempt end soon, if that can be done from outside."""


class Runner:
    def __init__(
        self,
        app: App,
        *,
        slots: int,
        executor: str,
        app_path: str | None,
        crash_limit: int,
        done: Callable[[Attempt, Conclusion], None],
        specs: Mapping[str, TaskSpec] | None = None,
    ) -> None:
        """``specs``: the tasks that it performs, by default all tasks of the app."""
        self._slots, self._done = slots, done
        self._app, self._app_path, self._crash_limit = app, app_path, crash_limit
        self._coroutines = Coroutines(app, self._finish)
        self._threads = Threads(app, self._finish, SINGLE)
        self._children = Children(app_path, crash_limit, self._finish, SINGLE)
        self._chunks: list[Chunks] = []
        specs = handlers(app) if specs is None else specs
        self._ways = {name: (spec, self._way(spec, executor)) for name, spec in specs.items()}
        self._reserved = frozenset(filter(is_reserved, specs))
        self._own_process = (
            {} if app_path is None else {name: self._own_process_of(s) for name, s in handlers(app).items()}
        )
        self._waiting = Waiting()
        self._running: dict[Attempt, Executor] = {}
        self._idle = asyncio.Event()
        self._times = JobTimes()
        self._suspects = Waiting()
        self._accused: set[Attempt] = set()  # suspects that run

    def _way(self, spec: TaskSpec, executor: str) -> Executor:
        executor = spec.executor or executor
        if isinstance(spec, ChunkSpec):
            return self._chunks_of(spec, executor)
        match executor:
            case "async" if spec.is_async:
                return self._coroutines
            case "async" | "thread":
                return self._threads
            case _:
                return self._children

    def _own_process_of(self, spec: TaskSpec) -> Executor:
        """What performs a suspect in a process of its own. If its task takes chunks, the suspect is a chunk of its own."""
        return (
            self._chunks_of(replace(spec, chunk=1), "process")
            if isinstance(spec, ChunkSpec)
            else self._children
        )

    def _chunks_of(self, spec: ChunkSpec, executor: str) -> Chunks:
        chunks = Chunks(
            spec, self._app, executor, slots=self._slots, app_path=self._app_path, crash_limit=self._crash_limit,
            finish=self._finish,
        )  # fmt: skip
        self._chunks.append(chunks)
        return chunks

    # ---------------------------------------------------------------- taking

    def take(self, attempts: list[Attempt]) -> None:
        """Starts as many attempts as there are free turns. The others wait."""
        for attempt in attempts:
            if attempt.task not in self._ways:  # a user's SQL gave the job to this worker
                self._done(attempt, Outcome.released())
                continue
            is_suspect = attempt.crash_count and attempt.task in self._own_process
            (self._suspects if is_suspect else self._waiting).append(attempt)
        self._fill()

    def prefetch(self) -> int:
        """How many attempts to claim beyond the slots: if jobs are short, enough that no turn stays empty; if they are long, none.

        Suspects that wait for a process of their own take no slot of others.
        """
        return self._times.ahead() + len(self._suspects)

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> Collection[Attempt]:
        """The attempts that run, in the order in which they began."""
        return self._running

    # ---------------------------------------------------------------- the steps of one attempt

    def _fill(self) -> None:
        """Gives free turns to attempts that wait. Suspects go first, a few at a time."""
        while len(self._running) < self._slots:
            is_suspect = bool(self._suspects) and len(self._accused) < SUSPECTS
            if not is_suspect and not self._waiting:
                break
            attempt = (self._suspects if is_suspect else self._waiting).popleft()
            is_plain = attempt.rare is None and attempt.task not in self._reserved
            if is_plain or not self._is_refused(attempt):
                self._start(attempt, is_suspect=is_suspect)
        if not self._running:
            self._idle.set()

    def _is_refused(self, attempt: Attempt) -> bool:
        """Ends the attempt here if it may not begin. Returns whether it ended."""
        conclusion = refused(self._ways[attempt.task][0], attempt)
        if conclusion is not None:
            self._conclude(attempt, conclusion)
        return conclusion is not None

    def _start(self, attempt: Attempt, *, is_suspect: bool) -> None:
        spec, executor = self._ways[attempt.task]
        if is_suspect:
            executor = self._own_process[attempt.task]
            self._accused.add(attempt)
        self._running[attempt] = executor
        emit_start(attempt)
        try:
            executor.start(spec, attempt)
        except Exception as error:  # noqa: BLE001 - no thread can be started, or no child could import the app
            asyncio.get_running_loop().call_soon(self._finish, attempt, failed(spec, attempt, error))

    def _finish(self, attempt: Attempt, conclusion: Conclusion) -> None:
        """An executor is done with the attempt, so its turn is free."""
        if self._running.pop(attempt, None) is None:
            return  # it was given up before, as timed out or lost
        self._accused.discard(attempt)
        if attempt.started_at:
            self._times.note(attempt.started_at, monotonic())
        self._conclude(attempt, conclusion)
        if self._waiting or self._suspects:
            self._fill()
        elif not self._running:
            self._idle.set()

    def _conclude(self, attempt: Attempt, conclusion: Conclusion) -> None:
        """Passes on what the attempt comes to, so that it is settled, and emits it."""
        self._done(attempt, conclusion)
        emit_ending(attempt, conclusion)

    # ---------------------------------------------------------------- giving up

    def cancel(self, job_ids: list[int]) -> None:
        """Stops jobs that were asked to end. A handler is cancelled, or learns of the cancel when it next checks.

        A job that waits never begins.
        """
        asked = set(job_ids)
        for attempt, executor in list(self._running.items()):
            if attempt.id in asked and attempt.end(Ending.CANCELLED):
                executor.stop(attempt)
        for waiting in (self._waiting, self._suspects):
            for attempt in waiting.take_out(lambda attempt: attempt.id in asked):
                attempt.end(Ending.CANCELLED)
                self._done(attempt, failed(self._ways[attempt.task][0], attempt, asyncio.CancelledError()))

    def lose(self, attempts: Collection[Attempt] | None = None) -> None:
        """Stops these attempts, by default all, because their lease is lost. Nothing is written of them, and those that wait never begin."""
        lost = set([*self._waiting, *self._suspects, *self._running] if attempts is None else attempts)
        for attempt in lost:
            attempt.end(Ending.LOST)
        for waiting in (self._waiting, self._suspects):
            for attempt in waiting.take_out(lost.__contains__):
                self._done(attempt, NothingToSettle.LEASE_LOST)
        for attempt, executor in list(self._running.items()):
            if attempt in lost:
                executor.stop(attempt)
                if executor is self._threads:  # the handler may not react; the slot is needed now
                    self._finish(attempt, NothingToSettle.LEASE_LOST)

    def release_waiting(self, older_than: float = 0.0) -> None:
        """Hands back attempts that were claimed ahead and have waited too long for a turn."""
        now = monotonic()
        for waiting in (self._waiting, self._suspects):
            late = waiting.take_out(lambda attempt: now - attempt.claimed_at >= older_than)
            delay = LATER if older_than and waiting is self._suspects else 0.0
            for attempt in late:
                self._done(attempt, Outcome.released(begun=False, delay=delay))
            if late and older_than and waiting is self._waiting:
                self._times.note_long()

    def release_running(self) -> int:
        """Hands back the attempts that still run, and returns how many. Handlers on threads cannot be stopped, and lose their lease."""
        running = list(self._running.items())
        for attempt, executor in running:
            attempt.end(Ending.RELEASED)
            executor.stop(attempt)
            if executor is not self._coroutines:
                self._finish(attempt, Outcome.released())
        return len(running)

    async def wait_idle(self) -> None:
        """Returns once nothing runs or waits."""
        while self._running or self._waiting or self._suspects:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        self._threads.close()
        self._children.close()
        for chunks in self._chunks:
            chunks.close()
