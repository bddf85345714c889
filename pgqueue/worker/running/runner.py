"""Runs attempts: decides once, for each task, whether on the loop, on a thread or in a child process. Does no SQL.

A claimed attempt waits here for its turn; a freed turn is given on at once, while the outcome is still being settled.

Suspects: a job that was at a crash of its worker, by its own fault or a neighbour's, runs from then on in a process of its own, whatever
its executor. There it cannot be charged with the crash of another, nor another with its own: the next crash condemns the guilty one alone, while all others go on
beside it, the suspects too. (To run it alone in the worker instead, all others would have to wait for it, and it for them.) Its former
neighbours are suspects for one run. When a worker dies, rescue.sql suspects only those that have run in the worker itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from pgqueue.app.app import App
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.names import is_reserved
from pgqueue.model.outcome import Outcome
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.job_facts import emit_ending, emit_start
from pgqueue.worker.running.children import Children
from pgqueue.worker.running.chunks import Chunks
from pgqueue.worker.running.coroutines import Coroutines
from pgqueue.worker.running.endings import failed, refused
from pgqueue.worker.running.hook_tasks import handlers
from pgqueue.worker.running.threads import Threads

SHORT = 0.05  # seconds: jobs longer than this are not claimed ahead
AHEAD = 0.03  # seconds of work to have at hand
MOST_AHEAD = 1000  # jobs
OVERTAKEN = 0.3  # seconds by which a more urgent attempt may have been claimed later and still goes first
SUSPECTS = 4  # at once: a process each, where memory may be what they died of
LATER = 5.0  # seconds for which one that waited too long for its process is left to other workers
WEIGHT = 0.05  # of the newest job in what is measured


class Executor(Protocol):
    """Performs attempts and calls the runner's ``_finish`` on the loop with each outcome."""

    def start(self, spec: TaskSpec, attempt: Attempt) -> None: ...

    def stop(self, attempt: Attempt) -> None:
        """Makes an attempt end soon, if that can be done from outside."""


class Waiting:
    """Attempts in the order in which they are to run: urgent ones first, else as they came.

    None is overtaken by those that were claimed OVERTAKEN later, or a stream of urgent jobs would let it starve here.
    """

    def __init__(self) -> None:
        self._by_priority: dict[int, deque[Attempt]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_priority.values()))

    def __bool__(self) -> bool:
        return bool(self._by_priority)

    def __iter__(self) -> Iterator[Attempt]:
        return (attempt for _, attempts in sorted(self._by_priority.items()) for attempt in attempts)

    def append(self, attempt: Attempt) -> None:
        attempts = self._by_priority.get(attempt.priority)
        if attempts is None:
            attempts = self._by_priority[attempt.priority] = deque()
        attempts.append(attempt)

    def popleft(self) -> Attempt:
        priority = min(self._by_priority)
        if len(self._by_priority) > 1:
            late = self._by_priority[priority][0].claimed_at - OVERTAKEN
            oldest = min(self._by_priority, key=lambda other: self._by_priority[other][0].claimed_at)
            priority = oldest if self._by_priority[oldest][0].claimed_at < late else priority
        attempts = self._by_priority[priority]
        attempt = attempts.popleft()
        if not attempts:
            del self._by_priority[priority]
        return attempt

    def remove(self, attempt: Attempt) -> None:
        self._by_priority[attempt.priority].remove(attempt)
        if not self._by_priority[attempt.priority]:
            del self._by_priority[attempt.priority]


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
        specs: Mapping[str, TaskSpec] | None = None,
    ) -> None:
        """``specs``: what it performs, by default all of the app."""
        self._slots, self._done = slots, done
        self._app, self._app_path, self._crash_limit = app, app_path, crash_limit
        self._coroutines = Coroutines(app, self._finish)
        self._threads = Threads(app, self._finish)
        self._children = Children(app_path, crash_limit, self._finish)
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
        self._seconds: float | None = None  # what a job takes
        self._pace: float | None = None  # seconds from one end of a job to the next, while there is work
        self._last_end = 0.0
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
        """Performs a suspect in a process of its own, and one of a chunk in a chunk of its own."""
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
        """Starts as many as there are turns for."""
        for attempt in attempts:
            if attempt.task not in self._ways:  # SQL gave it to this worker
                self._done(attempt, Outcome.released())
                continue
            is_suspect = attempt.crash_count and attempt.task in self._own_process
            (self._suspects if is_suspect else self._waiting).append(attempt)
        self._fill()

    def prefetch(self) -> int:
        """How many attempts to claim beyond the slots: enough short ones that no turn stays empty, none of long ones.

        Suspects that wait for a process of their own take no slot of others.
        """
        waiting = len(self._suspects)
        if self._seconds is None or self._pace is None or self._seconds > SHORT:
            return waiting
        return min(MOST_AHEAD, int(AHEAD / max(self._pace, 1e-6))) + waiting

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> Collection[Attempt]:
        """The longest at it first."""
        return self._running

    def _fill(self) -> None:
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
        """Whether it may not begin: then it ends here."""
        outcome = refused(self._ways[attempt.task][0], attempt)
        if outcome is not None:
            self._done(attempt, outcome)
            emit_ending(attempt, outcome)
        return outcome is not None

    def _start(self, attempt: Attempt, *, is_suspect: bool) -> None:
        spec, executor = self._ways[attempt.task]
        if is_suspect:
            executor = self._own_process[attempt.task]
            self._accused.add(attempt)
        self._running[attempt] = executor
        emit_start(attempt)
        try:
            executor.start(spec, attempt)
        except Exception as error:  # noqa: BLE001 - no thread to be had, no app that a child could import
            asyncio.get_running_loop().call_soon(self._finish, attempt, failed(spec, attempt, error))

    def _finish(self, attempt: Attempt, outcome: Outcome | None) -> None:
        if self._running.pop(attempt, None) is None:
            return  # it was given up before, as timed out or lost
        self._accused.discard(attempt)
        if attempt.started_at:
            self._measure(attempt.started_at)
        self._done(attempt, outcome)
        emit_ending(attempt, outcome)
        if self._waiting or self._suspects:
            self._fill()
        elif not self._running:
            self._idle.set()

    def _measure(self, started_at: float) -> None:
        now = monotonic()
        took = now - started_at
        pace = min(took, now - self._last_end)
        self._last_end = now
        if self._seconds is None or self._pace is None:
            self._seconds, self._pace = took, pace
        else:
            self._seconds += WEIGHT * (took - self._seconds)
            self._pace += WEIGHT * (pace - self._pace)

    # ---------------------------------------------------------------- giving up

    def cancel(self, job_ids: list[int]) -> None:
        """Stops jobs that were asked to end: the handler is cancelled, or told when it next checks; or it never begins."""
        asked = set(job_ids)
        for attempt in list(self._running):
            if attempt.id in asked and not attempt.cancelled:
                attempt.cancelled = True
                self._running[attempt].stop(attempt)
        for queue in (self._waiting, self._suspects):
            for attempt in [attempt for attempt in queue if attempt.id in asked]:
                attempt.cancelled = True
                queue.remove(attempt)
                self._done(attempt, failed(self._ways[attempt.task][0], attempt, asyncio.CancelledError()))

    def lose(self, attempts: Collection[Attempt] | None = None) -> None:
        """Stops these attempts, by default all, for their lease is lost: what they come to is not written. What has not begun is dropped."""
        lost = set([*self._waiting, *self._suspects, *self._running] if attempts is None else attempts)
        for attempt in lost:
            attempt.lost = True
        for queue in (self._waiting, self._suspects):
            for attempt in [attempt for attempt in queue if attempt in lost]:
                queue.remove(attempt)
                self._done(attempt, None)
        for attempt, executor in list(self._running.items()):
            if attempt in lost:
                executor.stop(attempt)
                if executor is self._threads:
                    self._finish(attempt, None)  # its thread may be deaf; the slot is needed now

    def release_waiting(self, older_than: float = 0.0) -> None:
        """Hands back attempts that were claimed ahead and have waited too long for a turn."""
        now = monotonic()
        for queue in (self._waiting, self._suspects):
            late = [attempt for attempt in queue if now - attempt.claimed_at >= older_than]
            delay = LATER if older_than and queue is self._suspects else 0.0
            for attempt in late:
                queue.remove(attempt)
                self._done(attempt, Outcome.released(begun=False, delay=delay))
            if late and older_than and queue is self._waiting:
                self._seconds = max(self._seconds or 0.0, 2 * SHORT)  # jobs are longer than they seemed

    def release_running(self) -> int:
        """Hands back what still runs; returns how many. Handlers on threads cannot be stopped and lose their lease."""
        running = list(self._running.items())
        for attempt, executor in running:
            attempt.released = True
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
