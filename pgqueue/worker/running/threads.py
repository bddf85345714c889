"""Handlers on threads.

Not concurrent.futures: a thread whose handler outlives its timeout must be interrupted or, if it is deaf to that,
replaced, which a pool does not do.
"""

from __future__ import annotations

import asyncio
import ctypes
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pgqueue.app.app import App
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.interruption import here
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import EndedLate, TimeoutIgnored
from pgqueue.telemetry.tracing import is_traced
from pgqueue.worker import forked
from pgqueue.worker.running.call import perform
from pgqueue.worker.running.endings import failed

DEAF = 2.0  # seconds that a handler gets to end, beyond its timeout or a cancel
# Seconds after which a loop that has not heard of a cancel is blocked by its handler.
LOOP_UNHEARD_AFTER = 0.5


class InterruptedByTimeout(BaseException):
    """Raised inside a handler whose time is up; a BaseException, so that `except Exception` does not swallow it."""


class Threads:
    """Grows to as many threads as attempts run at once; ``finish`` is called on the loop.

    What it runs is an ``Attempt``; its kin for chunks (chunks.py) says what to do with a ``Chunk`` instead.
    """

    def __init__(self, app: App, finish: Callable[[Any, Any], None]) -> None:
        self._app, self._finish = app, finish
        self._traced = is_traced()
        self._work: queue.SimpleQueue[tuple[Any, Any] | None] = queue.SimpleQueue()
        self._finished: deque[tuple[Any, Any]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._threads: set[_Thread] = set()
        self._busy = 0
        self._timers: dict[Any, asyncio.TimerHandle] = {}
        self._given_up: set[Any] = set()
        self.asked: set[Any] = set()  # attempts whose task is to be cancelled, perhaps before there is one

    perform: Callable[..., Any] = staticmethod(perform)
    failed: Callable[..., Any] = staticmethod(failed)

    def start(self, spec: TaskSpec, attempt: Any) -> None:
        """Runs the attempt on a thread."""
        self._loop = self._loop or asyncio.get_running_loop()
        if self._busy >= len(self._threads):
            self._grow()
        self._busy += 1
        self._work.put((spec, attempt))
        if (limit := attempt.seconds_left()) is not None:
            self._timers[attempt] = self._loop.call_later(limit, self._time_out, spec, attempt)

    def _grow(self) -> None:
        try:
            self._threads.add(_Thread(self))
        except RuntimeError:  # the system gives no more: those that exist take it in turn
            if not self._threads:
                raise

    def stop(self, attempt: Any) -> None:
        """Interrupts an attempt whose lease is lost; of others, cancels what is async. A plain handler ends when it next asks ``job.check()``."""
        if attempt.lost:
            self._interrupt(attempt)
        else:
            self.asked.add(attempt)
            for thread in self._threads:
                thread.cancel(attempt)

    def _time_out(self, spec: TaskSpec, attempt: Any) -> None:
        assert self._loop is not None
        attempt.timed_out = True
        self._interrupt(attempt)
        self._timers[attempt] = self._loop.call_later(DEAF, self._give_up, spec, attempt)

    def _interrupt(self, attempt: Any) -> None:
        for thread in self._threads:
            if thread.interrupt(attempt):
                assert self._loop is not None
                self._loop.call_later(LOOP_UNHEARD_AFTER, thread.insist, attempt)
                break

    def _give_up(self, spec: TaskSpec, attempt: Any) -> None:
        """The handler does not react, as in a C call: its thread is left alone and replaced."""
        emit(TimeoutIgnored(repr(attempt)))
        for thread in [thread for thread in self._threads if thread.current is attempt]:
            thread.abandoned = True
            self._threads.discard(thread)
        self._given_up.add(attempt)
        self.asked.discard(attempt)
        self._timers.pop(attempt, None)
        self._busy -= 1
        self._finish(attempt, self.failed(spec, attempt, TimeoutError()))

    def performed(self, attempt: Any, outcome: Any) -> None:
        """Called on a thread: brings the outcome to the loop, one wake-up for all that gather meanwhile."""
        self._finished.append((attempt, outcome))
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:
                emit(EndedLate(repr(attempt)))

    def _collect(self) -> None:
        self._scheduled = False
        while self._finished:
            attempt, outcome = self._finished.popleft()
            if self.asked:
                self.asked.discard(attempt)
            if attempt in self._given_up:
                self._given_up.discard(attempt)
                continue
            timer = self._timers.pop(attempt, None)
            if timer is not None:
                timer.cancel()
            self._busy -= 1
            self._finish(attempt, outcome)

    def close(self) -> None:
        for _ in self._threads:
            self._work.put(None)

    def perform_all(self, thread: _Thread) -> None:
        """The life of a thread: one attempt after the other, async handlers on a loop of its own."""
        here.thread = thread
        with asyncio.Runner() as runner:
            while not thread.abandoned and (item := self._work.get()) is not None:
                spec, attempt = item
                try:
                    try:
                        thread.begin(attempt)
                        outcome = self.perform(spec, attempt, self._app, runner, traced=self._traced)
                    finally:
                        thread.rest()
                except BaseException as error:  # noqa: BLE001 - an interruption while the outcome was made, or of nothing that is known
                    outcome = self.failed(spec, attempt, error)
                    thread.rest()
                if forked.astray:
                    forked.leave()
                try:
                    if thread.interrupted:
                        thread.absorb()
                except InterruptedByTimeout:
                    thread.interrupted = False
                self.performed(attempt, outcome)


class _Thread:
    """Its thread is interrupted while it performs an attempt that is out of time or lost, and at no other moment."""

    def __init__(self, threads: Threads) -> None:
        self.current: Any = None
        self.interrupted = False  # while it ran this attempt: once at most, or the second would hit what deals with the first
        self.abandoned = False
        self.shielded = False  # while it is, it is not interrupted
        self._due = False  # it will be, after that
        self._task: asyncio.Task[Any] | None = None  # which its loop runs
        self._unheard = False  # its loop has not come to cancel that
        self._asked = threads.asked
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=threads.perform_all, args=(self,), name="pgqueue slot", daemon=True
        )
        self._thread.start()

    def interrupt(self, attempt: Any) -> bool:
        """Raises InterruptedByTimeout in the thread if it runs this attempt (the way dramatiq's time limit goes)."""
        with self._lock:
            if self.current is not attempt:
                return False
            if not self.interrupted:
                self.interrupted = True
                if self._task is None:
                    self._raise()
                else:
                    self._unheard = True
                    self._task.get_loop().call_soon_threadsafe(self._cancel, self._task)
            return True

    def cancel(self, attempt: Any) -> None:
        """Ends an async handler, now or when it begins."""
        with self._lock:
            if self.current is attempt and self._task is not None:
                self._cancel_if_asked(self._task)

    def _cancel_if_asked(self, task: asyncio.Task[Any]) -> None:
        if self.current in self._asked:
            self._asked.discard(self.current)
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        with self._lock:
            self._unheard = False
        task.cancel()

    def insist(self, attempt: Any) -> None:
        """Interrupts a handler that blocks its loop, which has not heard of the cancel."""
        with self._lock:
            if self.current is attempt and self._unheard:
                self._unheard = False
                self._raise()

    def _raise(self) -> None:
        if self.shielded:
            self._due = True
        elif self._thread.ident is not None:
            _raise_in(self._thread.ident)

    def _let_in(self) -> None:
        """A pending interruption is raised here, at the latest when the loop jumps back."""
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
    def cancelling(self, task: asyncio.Task[Any]) -> Iterator[None]:
        with self._lock:
            self._task = task
            self._cancel_if_asked(task)
        try:
            self._let_in()
            yield
        finally:
            with self._lock:
                self._task = None

    def begin(self, attempt: Any) -> None:
        """Raises InterruptedByTimeout if it came too late to interrupt it."""
        with self._lock:
            self.current, self.shielded, self._due, self._unheard = attempt, False, False, False
        if attempt.lost or attempt.timed_out:
            raise InterruptedByTimeout

    def rest(self) -> None:
        """From here on the attempt is no longer interrupted."""
        with self._lock:
            self.current = None

    def absorb(self) -> NoReturn:
        """Raises InterruptedByTimeout here, and so lets an interruption that came too late for its handler hit nothing else.

        Whether it is still to be raised cannot be asked, and taking it back would leave the interpreter's flag of pending exceptions set
        for ever: 3.11 hangs then under any tracer, 3.12 runs slower. So one more takes its place, and is raised here.
        """
        _raise_in(threading.get_ident())
        while True:
            pass


def _raise_in(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(InterruptedByTimeout)
    )
