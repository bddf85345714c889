"""Runs handlers on threads.

The pool of concurrent.futures does not fit here. If a handler outlives its timeout, its thread must be interrupted. If the
thread ignores the interruption, another thread must replace it. That pool can do neither.
"""

from __future__ import annotations

import asyncio
import ctypes
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Generic, NoReturn

from pgqueue.app.app import App
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.interruption import here
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import EndedLate, TimeoutIgnored
from pgqueue.telemetry.tracing import is_traced
from pgqueue.worker import forked
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Ending
from pgqueue.worker.running.work import C, Kind, W

DEAF = 2.0  # a handler must end within this many seconds after its timeout or a cancel
TIMED_OUT = Ending.TIMED_OUT  # looked up only once, because Python 3.11 looks up members of an enum slowly
BLOCKED_AFTER = (
    0.5  # if a loop has not carried out a cancel after this many seconds, a handler blocks the loop
)
LOOK_PAUSE = 0.01  # seconds between two looks whether a handler can be interrupted
IMPORTER = "<frozen importlib"  # begins the file name of the functions that import a module
START = threading.Thread.start.__code__


class InterruptedByTimeout(BaseException):
    """Raised inside a handler whose time has run out. It is a BaseException, so that `except Exception` does not catch it."""


class Threads(Generic[W, C]):
    """A pool of threads. It grows until there is a thread for each call that runs at the same time.

    ``begun`` is called with each work before a thread gets the work. ``finish`` is called with the work and its result after the work has
    ended. Both are called on the event loop.
    """

    def __init__(
        self,
        app: App,
        finish: Callable[[W, C], None],
        kind: Kind[W, C],
        begun: Callable[[W], object] | None = None,
    ) -> None:
        self._app, self._finish, self._kind, self._begun = app, finish, kind, begun
        self._traced = is_traced()
        self._work: queue.SimpleQueue[tuple[TaskSpec, W] | None] = queue.SimpleQueue()
        self._finished: deque[tuple[W, C]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._threads: set[_Thread[W]] = set()
        self._busy = 0
        self._timers: dict[W, asyncio.TimerHandle] = {}
        self._given_up: set[W] = set()
        self.to_cancel: set[W] = (
            set()
        )  # work whose asyncio task must be cancelled; perhaps the task does not exist yet

    def start(self, spec: TaskSpec, work: W) -> None:
        """Gives the work to a thread."""
        if self._begun is not None:
            self._begun(work)
        self._loop = self._loop or asyncio.get_running_loop()
        if self._busy >= len(self._threads):
            self._grow()
        self._busy += 1
        self._work.put((spec, work))
        if (left := work.seconds_left()) is not None:
            self._timers[work] = self._loop.call_later(left, self._time_out, spec, work)

    def _grow(self) -> None:
        try:
            self._threads.add(_Thread(self))
        except RuntimeError:  # the system refuses another thread, so the work waits for a thread that exists
            if not self._threads:
                raise

    def stop(self, work: W) -> None:
        """If the work has lost its lease, interrupts it. Otherwise cancels the handler if it is async.

        A sync handler ends when it next calls ``job.check()``.
        """
        if work.ending is Ending.LOST:
            self._interrupt(work)
        else:
            self.to_cancel.add(work)
            for thread in self._threads:
                thread.cancel(work)

    def tell(self, work: W, attempt: Attempt) -> None:
        """Does nothing. A handler on a thread reads the attempt itself, not a copy, so it sees the ending anyway."""

    def _time_out(self, spec: TaskSpec, work: W) -> None:
        assert self._loop is not None
        work.end(Ending.TIMED_OUT)
        self._interrupt(work)
        self._timers[work] = self._loop.call_later(DEAF, self._give_up, spec, work)

    def _interrupt(self, work: W) -> None:
        """Interrupts the handler of this work. If the handler imports a module or starts a thread, waits until it has done so.

        An interrupted import would leave a module half made in this process. Then every later handler that uses the module would fail.
        While a thread starts, Python knows it by the id of the thread that starts it. So the interruption could hit the new thread, and the
        handler would wait for ever for its start.
        """
        assert self._loop is not None
        for thread in self._threads:
            if thread.current is work and thread.is_importing_or_starting():
                self._loop.call_later(LOOK_PAUSE, self._interrupt, work)
                break
            if thread.interrupt(work):
                self._loop.call_later(BLOCKED_AFTER, self._insist, thread, work)
                break

    def _insist(self, thread: _Thread[W], work: W) -> None:
        assert self._loop is not None
        if thread.current is work and thread.is_importing_or_starting():
            self._loop.call_later(LOOK_PAUSE, self._insist, thread, work)
        else:
            thread.insist(work)

    def _give_up(self, spec: TaskSpec, work: W) -> None:
        """Abandons the thread of a handler that did not react to the interruption, so that a new thread can take its place.

        A handler does not react while it is inside a call of C code, for instance.
        """
        emit(TimeoutIgnored(repr(work)))
        for thread in [thread for thread in self._threads if thread.current is work]:
            thread.abandoned = True
            self._threads.discard(thread)
        self._given_up.add(work)
        self.to_cancel.discard(work)
        self._timers.pop(work, None)
        self._busy -= 1
        self._finish(work, self._kind.failed(spec, work, TimeoutError()))

    def performed(self, work: W, concluded: C) -> None:
        """Called on a thread. Passes a result to the event loop. One call on the loop collects all results that have piled up."""
        self._finished.append((work, concluded))
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:
                emit(EndedLate(repr(work)))

    def _collect(self) -> None:
        self._scheduled = False
        while self._finished:
            work, concluded = self._finished.popleft()
            if self.to_cancel:
                self.to_cancel.discard(work)
            if work in self._given_up:
                self._given_up.discard(work)
                continue
            timer = self._timers.pop(work, None)
            if timer is not None:
                timer.cancel()
            self._busy -= 1
            self._finish(work, concluded)

    def close(self) -> None:
        for _ in self._threads:
            self._work.put(None)

    def perform_here(self, begun: Callable[[], object]) -> None:
        """Makes the calling thread a thread of the pool, until ``close`` is called. ``begun`` is called when it is one."""
        thread = _Thread(self, threading.current_thread())
        self._threads.add(thread)
        begun()
        # This runner makes its loop when a handler needs it, and does not make it the current loop of the thread, which can have one.
        with closing(asyncio.Runner(loop_factory=asyncio.new_event_loop)) as runner:
            try:
                self._perform_each(thread, runner)
            finally:
                here.thread = None

    def perform_all(self, thread: _Thread[W]) -> None:
        """The main function of each thread. Calls one handler after the other.

        Async handlers run on an event loop that belongs to this thread alone.
        """
        with asyncio.Runner() as runner:
            self._perform_each(thread, runner)

    def _perform_each(self, thread: _Thread[W], runner: asyncio.Runner) -> None:
        here.thread = thread
        while not thread.abandoned and (item := self._work.get()) is not None:
            spec, work = item
            try:
                try:
                    thread.begin(work)
                    concluded = self._kind.perform(spec, work, self._app, runner, traced=self._traced)
                finally:
                    thread.rest()
            except BaseException as error:  # noqa: BLE001 - an interruption that came while the result was made, or an error of unknown cause
                concluded = self._kind.failed(spec, work, error)
                thread.rest()
            if forked.astray:
                forked.leave()
            try:
                if thread.interrupted:
                    thread.absorb()
            except InterruptedByTimeout:
                thread.interrupted = False
            self.performed(work, concluded)


class _Thread(Generic[W]):
    """A thread of the pool. It is interrupted only while it performs work that has timed out or is lost.

    ``lent``: the thread that joins the pool (``perform_here``); None: a new one is started.
    """

    def __init__(self, threads: Threads[W, Any], lent: threading.Thread | None = None) -> None:
        self.current: W | None = None
        # Whether the thread was interrupted during the current work. The same work is never interrupted twice, because a second
        # interruption would hit the code that handles the first interruption.
        self.interrupted = False
        self.abandoned = False
        self.shielded = False  # while True, no interruption is raised
        self._due = False  # whether an interruption must be raised when the shield ends
        self._task: asyncio.Task[object] | None = None  # the task that the thread's loop runs
        self._cancel_pending = False  # whether the loop was asked to cancel the task and has not done so yet
        self._to_cancel = threads.to_cancel
        self._lock = threading.Lock()
        self._thread = lent or threading.Thread(
            target=threads.perform_all, args=(self,), name="pgqueue slot", daemon=True
        )
        if lent is None:
            self._thread.start()

    def interrupt(self, work: W) -> bool:
        """If the thread performs this work, interrupts the handler and returns True.

        In a sync handler, InterruptedByTimeout is raised, by a technique that dramatiq also uses. An async handler is cancelled.
        """
        with self._lock:
            if self.current is not work:
                return False
            if not self.interrupted:
                self.interrupted = True
                if self._task is None:
                    self._raise()
                else:
                    self._cancel_pending = True
                    self._task.get_loop().call_soon_threadsafe(self._cancel, self._task)
            return True

    def is_importing_or_starting(self) -> bool:
        """Whether the thread imports a module, or starts another thread, at the moment."""
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - the only way to see what another thread does
        while frame is not None:
            if frame.f_code is START or frame.f_code.co_filename.startswith(IMPORTER):
                return True
            frame = frame.f_back
        return False

    def cancel(self, work: W) -> None:
        """Cancels the async handler of this work if its task has begun. Otherwise ``cancelling`` does so when the task begins."""
        with self._lock:
            if self.current is work and self._task is not None:
                self._cancel_if_due(self._task)

    def _cancel_if_due(self, task: asyncio.Task[object]) -> None:
        if self.current in self._to_cancel:
            self._to_cancel.discard(self.current)
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _cancel(self, task: asyncio.Task[object]) -> None:
        with self._lock:
            self._cancel_pending = False
        task.cancel()

    def insist(self, work: W) -> None:
        """If the loop has not carried out the cancel yet, the handler blocks the loop, and gets InterruptedByTimeout."""
        with self._lock:
            if self.current is work and self._cancel_pending:
                self._cancel_pending = False
                self._raise()

    def _raise(self) -> None:
        if self.shielded:
            self._due = True
        elif self._thread.ident is not None:
            raise_in(self._thread.ident)

    def _let_in(self) -> None:
        """Lets Python raise a pending interruption here. Python raises it at the latest when the ``for`` jumps back."""
        if self.interrupted:
            for _ in range(2):
                pass

    def shield(self, on: bool) -> None:
        with self._lock:
            self.shielded = on
            due = self._due and not on
            self._due &= on
        if due:
            raise InterruptedByTimeout
        if on:
            self._let_in()

    @contextmanager
    def cancelling(self, task: asyncio.Task[object]) -> Iterator[None]:
        with self._lock:
            self._task = task
            self._cancel_if_due(task)
        try:
            self._let_in()
            yield
        finally:
            with self._lock:
                self._task = None

    def begin(self, work: W) -> None:
        """If the work timed out or was lost before it began, raises InterruptedByTimeout."""
        with self._lock:
            self.current, self.shielded, self._due, self._cancel_pending = work, False, False, False
        if work.ending >= TIMED_OUT:
            raise InterruptedByTimeout

    def rest(self) -> None:
        """Marks the work as done, so that it is no longer interrupted."""
        with self._lock:
            self.current = None

    def absorb(self) -> NoReturn:
        """Raises InterruptedByTimeout here, so that an interruption which came too late for its handler hits no other code.

        Python has no function that returns whether an interruption is still pending. If the pending interruption were cleared, the
        interpreter's flag of pending exceptions would stay set for ever: then Python 3.11 hangs under any tracer, and 3.12 runs slower.
        So this function sets a new interruption, which replaces a pending one, and waits until it is raised.
        """
        raise_in(threading.get_ident())
        while True:
            pass


def raise_in(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(InterruptedByTimeout)
    )
