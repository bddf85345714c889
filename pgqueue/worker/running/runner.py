"""Runs attempts. Decides once for each task whether its attempts run on the loop, on a thread or in a child process. Sends no SQL.

A claimed attempt waits here for a free slot. When an attempt ends, the next attempt gets its slot immediately, although the outcome of the
ended attempt is not yet written.

Suspects: if a worker crashes, the jobs that ran in its process become suspects, because any of them can have caused the crash. Each suspect
then runs in a process of its own, whatever its executor is. If this process crashes, the suspect itself is the cause, and the crash counts
for no other job. Meanwhile all other jobs go on in the worker. (The worker could instead stop starting jobs, wait until all running jobs
have ended, and then run the suspect. But then the other jobs would have to wait.) A job that did not cause the crash completes in its own
process, so it is a suspect for only one run. When a worker dies, rescue.sql counts the crash only for jobs that were not suspects, because
suspects did not run in the worker's process. If the worker ran only suspects, the crash counts for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from pgqueue.app.app import App
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.names import is_reserved
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import has_subscribers
from pgqueue.telemetry.events.jobs import JobCompleted, JobStarted
from pgqueue.worker.attempt import Attempt, Keeper
from pgqueue.worker.ending import Conclusion, Ending, NothingToSettle, OwnCommit
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

SUSPECTS = 4  # at most this many suspects run at the same time; few, because a lack of memory can have caused the crash
LATER = 5.0  # if a suspect has waited here too long, it is released, and workers can claim it again after this many seconds


class Executor(Protocol):
    """Performs attempts. When an attempt has ended, calls the runner's ``_finish`` on the loop, with the attempt and its conclusion."""

    def start(self, spec: TaskSpec, attempt: Attempt) -> None: ...

    def stop(self, attempt: Attempt) -> None:
        """Makes an attempt end soon, if it can be stopped from outside."""


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
        keep_logs: bool = False,
    ) -> None:
        """``done`` is called with each attempt and its conclusion. ``specs``: the tasks that the runner performs; None: all of the app.

        ``keep_logs``: the setting of the worker, for child processes.
        """
        self._slots, self._done = slots, done
        self.keeper: Keeper | None = None  # stores the checkpoints of steps
        self._app, self._app_path, self._crash_limit, self._keep_logs = app, app_path, crash_limit, keep_logs
        self._coroutines = Coroutines(app, self._finish)
        self._threads = Threads(app, self._finish, SINGLE)
        self._children = Children(app_path, crash_limit, self._finish, SINGLE, keep_logs=keep_logs)
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
        self._accused: set[Attempt] = set()  # the suspects that run now

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
        """Returns the executor for suspects of this task. If the task takes chunks, each suspect gets a chunk of its own."""
        return (
            self._chunks_of(replace(spec, chunk=1), "process")
            if isinstance(spec, ChunkSpec)
            else self._children
        )

    def _chunks_of(self, spec: ChunkSpec, executor: str) -> Chunks:
        chunks = Chunks(
            spec, self._app, executor, slots=self._slots, app_path=self._app_path, crash_limit=self._crash_limit,
            finish=self._finish, keep_logs=self._keep_logs,
        )  # fmt: skip
        self._chunks.append(chunks)
        return chunks

    # ---------------------------------------------------------------- taking

    def take(self, attempts: list[Attempt]) -> None:
        """Starts as many of these attempts as there are free slots. The other attempts wait."""
        for attempt in attempts:
            if (
                attempt.task not in self._ways
            ):  # no claim takes such a job, so a user's SQL gave the job to this worker
                self._done(attempt, Outcome.released())
                continue
            is_suspect = attempt.crash_count and attempt.task in self._own_process
            (self._suspects if is_suspect else self._waiting).append(attempt)
        self._fill()

    def ahead(self) -> int:
        """Returns how many attempts to claim in addition to the free slots, so that every slot stays filled if jobs take a short time.

        For each suspect that waits for a process of its own, one more attempt is claimed, so that suspects do not keep other jobs away.
        """
        return self._times.ahead(len(self._waiting)) + len(self._suspects)

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> Collection[Attempt]:
        """Returns the attempts that run, in the order in which they began."""
        return self._running

    # ---------------------------------------------------------------- the steps of one attempt

    def _fill(self) -> None:
        """Starts waiting attempts in the free slots. Suspects go first, but no more than SUSPECTS of them run at the same time."""
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
        """Ends the attempt if it must not begin. Returns whether it ended."""
        conclusion = refused(self._ways[attempt.task][0], attempt)
        if conclusion is not None:
            self._done(attempt, conclusion)
            emit_ending(attempt, conclusion)
        return conclusion is not None

    def _start(self, attempt: Attempt, *, is_suspect: bool) -> None:
        spec, executor = self._ways[attempt.task]
        if is_suspect:
            executor = self._own_process[attempt.task]
            self._accused.add(attempt)
        self._running[attempt] = executor
        attempt.keeper = self.keeper
        if has_subscribers(JobStarted):
            emit_start(attempt)
        try:
            executor.start(spec, attempt)
        except Exception as error:  # noqa: BLE001 - no thread can be started, or no child could import the app
            asyncio.get_running_loop().call_soon(self._finish, attempt, failed(spec, attempt, error))

    def _finish(self, attempt: Attempt, conclusion: Conclusion) -> None:
        """Called when an executor has ended the attempt. Its slot is now free."""
        if self._running.pop(attempt, None) is None:
            return  # the runner has already ended the attempt, for example because its lease was lost
        attempt.keeper = None  # a thread or a task that the handler has left behind begins no further step
        self._accused.discard(attempt)
        if attempt.started_at:
            attempt.ran = self._times.note(attempt.started_at, monotonic())
        self._done(attempt, conclusion)
        if conclusion is not COMPLETED or has_subscribers(
            JobCompleted
        ):  # most conclusions are COMPLETED, and without a subscriber nothing is emitted for them
            emit_ending(attempt, conclusion)
        if self._waiting or self._suspects:
            self._fill()
        elif not self._running:
            self._idle.set()

    # ---------------------------------------------------------------- stopping attempts

    def cancel(self, job_ids: list[int]) -> None:
        """Stops jobs that were asked to stop. A running handler is cancelled, or gets an error when it next calls ``check``.

        If a job waits here for a slot, it does not begin.
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
        """Stops these attempts because their lease is lost; None stops all attempts.

        No outcome is written for them. Attempts that wait for a slot do not begin.

        A handler that has sent the COMMIT that completes its job is not stopped. If the lease was lost before the COMMIT, the database tells
        the handler so. Otherwise the COMMIT is made, no other attempt begins, and an interruption would look like a failure. (A child
        process is killed in any case, because only the child knows what its handler has sent.)
        """
        lost = set([*self._waiting, *self._suspects, *self._running] if attempts is None else attempts)
        for attempt in lost:
            attempt.end(Ending.LOST)
        for waiting in (self._waiting, self._suspects):
            for attempt in waiting.take_out(lost.__contains__):
                self._done(attempt, NothingToSettle.LEASE_LOST)
        for attempt, executor in list(self._running.items()):
            if attempt in lost and attempt.own_commit is OwnCommit.NONE:
                executor.stop(attempt)
                if (
                    executor is self._threads
                ):  # perhaps a handler on a thread does not stop, but its slot is needed now
                    self._finish(attempt, NothingToSettle.LEASE_LOST)

    def release_waiting(self, older_than: float = 0.0) -> None:
        """Releases the attempts that have waited here for a slot for at least ``older_than`` seconds."""
        now = monotonic()
        for waiting in (self._waiting, self._suspects):
            late = waiting.take_out(lambda attempt: now - attempt.claimed_at >= older_than)
            delay = LATER if older_than and waiting is self._suspects else 0.0
            for attempt in late:
                self._done(attempt, Outcome.released(begun=False, delay=delay))
            if late and older_than and waiting is self._waiting:
                self._times.note_long()

    def release_running(self) -> int:
        """Releases the attempts that still run, and returns how many there were.

        A handler on a thread can go on, because a thread cannot be killed. Its result is dropped.
        """
        running = list(self._running.items())
        for attempt, executor in running:
            attempt.end(Ending.RELEASED)
            executor.stop(attempt)
            if executor is not self._coroutines:
                self._finish(attempt, Outcome.released())
        return len(running)

    def perform_here(self, begun: Callable[[], object]) -> None:
        """Lends the calling thread to handlers that run on threads, until ``close`` is called. ``begun`` is called when it can take the first."""
        self._threads.perform_here(begun)

    async def wait_idle(self) -> None:
        """Returns as soon as no attempt runs or waits."""
        while self._running or self._waiting or self._suspects:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        self._threads.close()
        self._children.close()
        for chunks in self._chunks:
            chunks.close()
