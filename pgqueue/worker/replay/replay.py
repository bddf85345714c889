"""Calls the handler of a job in this process as a worker would do it, and rolls back what it does in the database.

The handler runs on a thread, so that the caller's thread can end the replay if the handler hangs. A replay writes nothing about the job: it
takes no lease, stores no checkpoint, and settles no outcome. So it is safe while a worker runs the same job.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from psycopg import Connection

from pgqueue.app.app import App
from pgqueue.database.run import connect, is_pooled, run
from pgqueue.database.statements.replay import Replayed
from pgqueue.errors import InvalidArgumentsError
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.outcome import Outcome
from pgqueue.model.steps import Checkpoint
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic, new_loop
from pgqueue.telemetry.captured import captured
from pgqueue.text.described import TRACEBACK_LIMIT, clean
from pgqueue.worker.ending import Conclusion, Ending, OwnCommit
from pgqueue.worker.replay.findings import Ended, Findings, Notes, Session
from pgqueue.worker.replay.lease import NoWaits, ReplayAttempt
from pgqueue.worker.replay.others import read_only_by_default
from pgqueue.worker.replay.psycopg_sessions import Setting
from pgqueue.worker.replay.sessions import ReplayPools, Sessions
from pgqueue.worker.running.call import decoded, job_of, perform
from pgqueue.worker.running.chunk_call import Chunk, perform_chunk
from pgqueue.worker.running.hook_tasks import handlers
from pgqueue.worker.running.threads import raise_in

LIMIT = 300.0  # seconds; a job without a timeout is replayed for at most this time, because its locks are held until the end
GRACE = 2.0  # a handler that was asked to stop must end within this many seconds
SLICE = 0.1
OF_POOLS = ("pool-", "asyncio_", "ThreadPoolExecutor-")  # threads of pools do not end by themselves
POOLED = (
    "The database is reached through a pooler, so connections that the handler itself has opened were not"
    " made read-only: what they committed is not undone."
)
LOCKED = (
    "A statement waited too long for a lock. In a replay, all transactions stay open to its end, so two connections of the handler"
    " can wait for each other."
)
READ_ONLY = (
    "The handler has written on a connection that pgqueue has not made. Such connections are read-only in a replay, because pgqueue"
    " could not roll them back. Pass what makes the connection to job.transaction(using=…)."
)
REFUSED = "The server refuses each COMMIT of a replay, and each check of all deferred constraints: the handler has sent COMMIT or SET CONSTRAINTS ALL."
RUN_STEPS = "With --run-steps, a replay calls the functions of such steps. Their effects outside the database are not undone."


class Replay:
    """One replay. ``limit``: after this many seconds the handler is stopped. ``run_steps``: whether functions of plain steps are called.

    Raises UnknownTaskError if the app has no such task, and InvalidArgumentsError or UndecodableJobError if the job's row does not fit it.
    """

    def __init__(
        self,
        app: App,
        job: Replayed,
        checkpoints: list[Checkpoint],
        *,
        run_steps: bool = False,
        limit: float | None = None,
    ) -> None:
        self._app = app
        self._notes = notes = Notes()
        row = list(job.row)
        if job.state in ("pending", "retrying", "waiting"):
            row[6] += 1  # the attempt that would come next
        self._setting = Setting(row[0], notes, lasting=True)
        self._sessions = Sessions(self._setting)
        self.attempt = ReplayAttempt(
            app, job.worker_id, row, checkpoints, self._sessions, notes, run_steps=run_steps
        )
        self.limit = limit or self.attempt.timeout or LIMIT
        self.attempt.timeout = None
        self.spec = _spec(app, self.attempt.task)
        try:
            decoded(self.spec, self.attempt)
        except InvalidArgumentsError as error:
            if job.state == "waiting" and self.attempt.is_node:
                raise InvalidArgumentsError(
                    f"Job {self.attempt.id} does not have all its arguments yet.",
                    why="it waits for other jobs of its workflow, and the results of these become its arguments",
                    do=f"replay it when they have ended; pgq why {self.attempt.id} names them",
                ) from error
            raise
        job_of(self.attempt, app)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_performed = False
        self._ended, self._interrupted = threading.Event(), threading.Event()
        self._conclusion: Conclusion | None = None
        self._broken: BaseException | None = None

    def run(self) -> Findings:
        """Calls the handler, and returns the findings. If the caller's thread is the main thread, Ctrl-C ends the replay."""
        before = set(threading.enumerate())
        with connect(self._app.dsn, name="pgqueue replay") as connection:
            self._prepare(connection)
        thread = threading.Thread(target=self._work, name="pgqueue replay", daemon=True)
        with (
            read_only_by_default() if self._setting.lasting else nullcontext(),
            _replacing(self._app, self._sessions, self._notes),
            captured(self._notes.logged),
            _noting_ctrl_c(self._interrupted),
        ):
            thread.start()
            cut = self._watch(thread)
        findings = self._found(cut)
        if not self._ended.is_set():
            self._note_hanging(thread)
        findings.unended += _names_of_living(set(threading.enumerate()) - before - {thread})
        if self._broken is not None:
            raise self._broken
        return findings

    def _prepare(self, connection: Connection) -> None:
        """Checks that the role is allowed to do what a replay does, and whether a pooler is in between."""
        self._setting.lasting = not is_pooled(connection)
        with connection.transaction(force_rollback=True):
            run(connection, self._setting.refusal())

    # ---------------------------------------------------------------- on the thread of the handler

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                self._loop = runner.get_loop()
                begun = monotonic()
                try:
                    self._conclusion = self._perform(runner)
                finally:
                    self._has_performed = True
                    self._notes.findings.seconds = monotonic() - begun
                self._notes.is_over = True
                self._notes.findings.sessions = self._close(runner)
                self._ended.set()
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self._broken = error
        finally:
            self._ended.set()

    def _perform(self, runner: asyncio.Runner) -> Conclusion:
        if isinstance(self.spec, ChunkSpec):
            [conclusion] = perform_chunk(self.spec, Chunk([self.attempt]), self._app, runner, traced=False)
            return conclusion
        return perform(self.spec, self.attempt, self._app, runner, traced=False)

    def _close(self, runner: asyncio.Runner) -> list[Session]:
        found = self._sessions.close()
        found += runner.run(self._sessions.aclose())
        runner.run(self._app.leave_loop())
        return found

    # ---------------------------------------------------------------- on the thread of the caller

    def _watch(self, thread: threading.Thread) -> Ended | None:
        """Waits for the end. Returns None, or how the replay was cut off."""
        until = monotonic() + self.limit
        while monotonic() < until:
            if self._ended.wait(SLICE):
                return None
            if self._interrupted.is_set():
                self._stop(thread, Ending.CANCELLED)
                return "interrupted"
        self._stop(thread, Ending.TIMED_OUT)
        return "timed out"

    def _stop(self, thread: threading.Thread, ending: Ending) -> None:
        """Asks the handler to end, and waits for at most GRACE seconds."""
        self._notes.is_over = True
        self.attempt.timeout = self.limit
        self.attempt.end(ending)
        until = monotonic() + GRACE
        for is_last_try in (False, True):
            if not self._has_performed:
                if self.spec.is_async and not is_last_try and self._loop is not None:
                    self._loop.call_soon_threadsafe(_cancel_all, self._loop)
                elif thread.ident is not None:
                    raise_in(thread.ident)
                self._sessions.interrupt()
            if self._ended.wait(max(until - monotonic(), 0) if is_last_try else GRACE / 2):
                return

    def _note_hanging(self, thread: threading.Thread) -> None:
        findings = self._notes.findings
        findings.unended.append(thread.name)
        findings.notes.append("The handler did not end. Its connections are closed now, and so rolled back.")
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the only way to see where a thread is
        if frame is not None:
            findings.traceback = clean("".join(traceback.format_stack(frame)), TRACEBACK_LIMIT)

    def _found(self, cut: Ended | None) -> Findings:
        findings, attempt, outcome = self._notes.findings, self.attempt, self._conclusion
        findings.progress = None if attempt.progress is None else attempt.progress.as_json()
        findings.notes += self._remarks()
        if isinstance(outcome, Outcome) and not self._notes.stopped:
            findings.error, findings.traceback = outcome.error, outcome.traceback
        if cut is not None:
            findings.ended = cut
            findings.sentence = (
                "Ctrl-C has ended the replay."
                if cut == "interrupted"
                else f"The handler was stopped after {self.limit:g} s."
            )
        elif self._notes.stopped:
            findings.ended = "stopped"
            findings.sentence = f"The replay ended where the handler {'; '.join(self._notes.stopped)}."
        elif attempt.own_commit is OwnCommit.CONFIRMED:
            findings.ended, findings.state, findings.reason = "completed", "completed", "completed"
            findings.value = attempt.own_result
            findings.sentence = "The handler completed the job in its own transaction."
        elif isinstance(outcome, Outcome):
            _describe(findings, outcome)
        return findings

    def _remarks(self) -> Iterator[str]:
        findings = self._notes.findings
        if not self._setting.lasting:
            yield POOLED
        if any(sentence.startswith("would call ") for sentence in self._notes.stopped):
            yield RUN_STEPS
        errors = [one.error for one in findings.statements if one.error]
        if isinstance(self._conclusion, Outcome) and self._conclusion.error:
            errors.append(self._conclusion.error)
        if any("LockNotAvailable" in error for error in errors):
            yield LOCKED
        if any("the lease 0 on job" in error for error in errors):
            yield REFUSED
        if any("ReadOnlySqlTransaction" in error or "read-only transaction" in error for error in errors):
            yield READ_ONLY


def _describe(findings: Findings, outcome: Outcome) -> None:
    """Writes down what a worker would do after this outcome."""
    findings.state, findings.reason = outcome.state, outcome.reason
    if outcome.state == "completed":
        findings.value = outcome.result
        findings.sentence = "The handler returned. A worker would complete the job."
        return
    findings.ended = "raised"
    would = {"dead": "make the job dead", "cancelled": "cancel the job"}.get(outcome.state)
    if would is None:
        findings.delay = outcome.delay
        would = f"run the job again after {outcome.delay:.3g} s"
    findings.sentence = f"The handler did not complete the job. A worker would {would} ({outcome.reason})."


def _spec(app: App, task: str) -> TaskSpec:
    """Returns the task, or the task of pgqueue that calls the hooks of a task."""
    known = handlers(app)
    return known[task] if task in known else app.spec(task)


def _names_of_living(threads: set[threading.Thread]) -> list[str]:
    """Returns the names of those threads that do not end within a moment, without the threads of pools."""
    found = []
    for thread in threads:
        if not thread.name.startswith(OF_POOLS):
            with suppress(RuntimeError):  # it is just being started
                thread.join(SLICE)
            if thread.is_alive():
                found.append(thread.name)
    return sorted(found)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


@contextmanager
def _noting_ctrl_c(interrupted: threading.Event) -> Iterator[None]:
    """In this block, the first Ctrl-C sets ``interrupted``. The second one raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _: object) -> None:
        interrupted.set()
        signal.signal(number, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _replacing(app: App, sessions: Sessions, notes: Notes) -> Iterator[None]:
    """Gives the app connections that are never committed. Its own connections come back at the end of the block."""
    store = app.store
    before = store.pools, store.waiters
    pools = ReplayPools(store.dsn, None, sessions)
    store.pools, store.waiters = pools, NoWaits(notes)
    try:
        yield
    finally:
        store.pools, store.waiters = before
        pools.close()
