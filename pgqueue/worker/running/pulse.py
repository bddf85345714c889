"""Notices that the worker's loop is blocked: a handler on the loop blocks it, or any handler holds the interpreter's lock (GIL).

::

    loop ── beats ──► Pulse, a thread ── after 1 s without a beat: logs the stack of the loop's thread, once
                        │  │             after 3 s: writes it into the worker's row, for `pgq doctor`, `why` and `workers list`
                        │  │             if a timeout or a cancel cannot take effect, or after `limit` seconds: ends the process
                        │  └─ alive ───► the supervisor, which kills a process that sends nothing for as long as a lease
                        └─ resets ─────► a timer of the process's CPU time, which kills the process even if a handler holds the lock

A blocked loop cannot be interrupted from outside, so its process must end. Before that, this thread writes the outcomes of the worker's
jobs. A job whose time is up has timed out, and a job that was asked to stop is cancelled. Otherwise, the guilty job, whose handler blocks
the loop, has crashed. All other jobs are released, so their attempts do not count. The thread measures the time of a blockage by counting
its own ticks. So time in which the whole process was stopped or suspended does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile
from types import FrameType

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import connect, run
from pgqueue.errors import LoopBlockedError
from pgqueue.model.outcome import Outcome
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import (
    BlockageNotNoted,
    BlockedJobsNotSettled,
    BlockedProcessEnded,
    LoopBlocked,
    LoopTurned,
    PulseFailed,
)
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.exit_codes import BLOCKED
from pgqueue.worker.running.call import perform_async
from pgqueue.worker.running.chunk_call import perform_chunk_async
from pgqueue.worker.running.conclusions import failed
from pgqueue.worker.running.threads import DEAF

TICK = 0.25  # seconds between two beats of the loop, and between two checks by the thread
LOGGED, NOTED = (
    1.0,
    3.0,
)  # a blockage is logged after LOGGED seconds, and noted in the worker's row after NOTED seconds
AT_LEAST = 5.0  # a process whose lock is held is not killed before this many seconds of CPU time, even if the lease is shorter
GOODBYE = 10.0  # the time limit, in seconds, for writing the outcomes before the process ends


class Pulse:
    def __init__(
        self,
        dsn: str,
        *,
        attempts: Callable[[], Collection[Attempt]],
        specs: Mapping[str, TaskSpec],
        hooks: Sequence[str],
        crash_limit: int,
        limit: float,
        lease: float,
        alive: Callable[[], None],
    ) -> None:
        """``limit``: if the loop is blocked, the process ends after this many seconds. 0: it never ends for this reason.

        ``alive`` is called at every tick, on the thread of this class.
        """
        self._dsn, self._attempts, self._specs, self._hooks = dsn, attempts, specs, hooks
        self._crash_limit, self._limit, self._alive = crash_limit, limit, alive
        # Seconds of CPU time. The timer counts the CPU time of all threads, so the least value grows with the number of CPUs.
        self._held = max(lease, AT_LEAST, 4 * TICK * (os.cpu_count() or 1))
        self._turned, self._turns = True, 0
        self._blocked = 0.0
        self._logged, self._noted = False, 0.0
        self._asked: dict[int, float] = {}  # for each job that was asked to stop: since when
        self._stop = threading.Event()
        self._timed = False
        self.worker_id = 0

    def start(self) -> None:
        """Starts the thread, and the beats of the loop. It must be called on the loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._timed = bool(self._limit) and signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
        if self._timed:
            with contextlib.suppress(
                AttributeError, RuntimeError, ValueError, OSError
            ):  # fails if stderr is no real file
                faulthandler.register(signal.SIGVTALRM, all_threads=True, chain=True)
        self._arm()
        self._turn()
        self._thread = threading.Thread(target=self._watch, name="pgqueue pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)
        if self._timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            faulthandler.unregister(signal.SIGVTALRM)

    def cancel(self, job_ids: list[int]) -> None:
        """Called with the ids of the jobs that were asked to stop. Any thread is allowed to call this."""
        now = monotonic()
        self._asked = {job_id: self._asked.get(job_id, now) for job_id in job_ids}

    def mark(self) -> int | None:
        """Returns a number that grows as long as the loop turns. None before ``start`` and after ``stop``. Any thread can call it."""
        return None if self._stop.is_set() or not self._turns else self._turns

    def _arm(self) -> None:
        """Sets the timer again. The timer counts the CPU time of all threads.

        If another thread holds the interpreter's lock for so long that the time runs out, this thread cannot set the timer again, and the
        timer kills the process.
        """
        if self._timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, self._held)

    def _turn(self) -> None:
        self._turned = True
        self._turns += 1
        if not self._stop.is_set():
            self._loop.call_later(TICK, self._turn)

    # ---------------------------------------------------------------- on the thread

    def _watch(self) -> None:
        while not self._stop.wait(TICK):
            self._arm()
            self._alive()
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - it is logged
                emit(PulseFailed(error))

    def _look(self) -> None:
        turned, self._turned = self._turned, False
        if turned:
            if self._logged:
                emit(LoopTurned(self.worker_id, self._blocked))
            if self._noted:
                self._note(None, [])
            self._blocked, self._logged, self._noted = 0.0, False, 0.0
            return
        self._blocked += TICK
        if self._blocked >= LOGGED:
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documentation of Python names this use
            guilty = at_work(frame)
            if not self._logged:
                self._logged = True
                emit(LoopBlocked(self.worker_id, self._blocked, *named(guilty), stack(frame).rstrip()))
            if self._blocked >= max(NOTED, 2 * self._noted):
                self._noted = self._blocked
                self._note(self._blocked, [attempt.id for attempt in guilty])
            why = self._reason_to_end()
            if why and not self._turned:
                self._end(why, guilty)

    def _note(self, seconds: float | None, job_ids: list[int]) -> None:
        try:
            with self._connection() as connection:
                run(connection, statements.note_blocked(self.worker_id, seconds, job_ids))
        except Exception as error:  # noqa: BLE001 - it is logged, and noted again later
            emit(BlockageNotNoted(self.worker_id, error))

    def _connection(self) -> Connection:
        return connect(self._dsn, name="pgqueue pulse")

    def _reason_to_end(self) -> str:
        """Returns the reason why the process must end now, in words. Returns '' if it need not end."""
        if not self._limit or self._blocked < DEAF:
            return ""
        for attempt in list(self._attempts()):
            if is_late(attempt):
                return f"the time of {attempt!r} is up"
            if self._is_cancelled(attempt):
                return f"{attempt!r} was asked to end"
        return f"{self._limit:g} s is the limit (--blocked)" if self._blocked >= self._limit else ""

    def _is_cancelled(self, attempt: Attempt) -> bool:
        return monotonic() - self._asked.get(attempt.id, monotonic()) > DEAF

    def _end(self, why: str, guilty: list[Attempt]) -> None:
        emit(BlockedProcessEnded(self.worker_id, self._blocked, *named(guilty), why))
        guard = threading.Timer(GOODBYE, os._exit, (BLOCKED,))
        guard.daemon = True
        guard.start()
        try:
            with self._connection() as connection:
                self._settle(connection, guilty)
        except Exception as error:  # noqa: BLE001 - it is logged
            emit(BlockedJobsNotSettled(self.worker_id, error))
        os._exit(BLOCKED)

    def _settle(self, connection: Connection, guilty: list[Attempt]) -> None:
        attempts = {attempt.id: attempt for attempt in list(self._attempts())}
        if guilty:
            for row in run(connection, statements.find_lost_claims(self.worker_id, list(attempts))):
                attempt = Attempt(self.worker_id, row)
                attempts[attempt.id] = attempt
            for attempt in attempts.values():
                conclusion = self._conclusion(attempt, attempt in guilty)
                if isinstance(conclusion, Outcome):
                    settled = [(attempt.id, attempt.lease_id, conclusion)]
                    run(connection, statements.settle(self.worker_id, settled, self._hooks))
        run(connection, statements.stop_worker(self.worker_id))

    def _conclusion(self, attempt: Attempt, is_guilty: bool) -> Conclusion:
        spec = self._specs[attempt.task]
        is_over = is_late(attempt)
        if is_over or self._is_cancelled(attempt):
            attempt.end(Ending.TIMED_OUT if is_over else Ending.CANCELLED)
            return failed(spec, attempt, asyncio.CancelledError())
        if is_guilty:
            error = LoopBlockedError(
                f"It blocked the worker's loop for {self._blocked:.0f} s.",
                do='define its handler by def instead of async def, or give its task executor="process"',
            )
            return failed(spec, attempt, error, crashed=True, crash_limit=self._crash_limit)
        return attempt.nothing_to_settle() or Outcome.released(begun=bool(attempt.started_at))


def is_late(attempt: Attempt) -> bool:
    """Returns whether the time of the attempt ended more than DEAF seconds ago. By now its handler should have ended."""
    if not attempt.started_at:
        return False
    left = attempt.until_deadline()
    ran = monotonic() - attempt.started_at
    return (attempt.timeout is not None and ran > attempt.timeout + DEAF) or (
        left is not None and left < -DEAF
    )


def at_work(frame: FrameType | None) -> list[Attempt]:
    """Returns the attempts whose handler runs on the thread of this frame. Finds them among the local variables of the frame's stack.

    This is done only if the loop is blocked, so it takes no time from ordinary jobs.
    """
    while frame is not None:
        if frame.f_code is perform_async.__code__:
            return [frame.f_locals["attempt"]]
        if frame.f_code is perform_chunk_async.__code__:
            return list(frame.f_locals["chunk"].attempts)
        frame = frame.f_back
    return []


def stack(frame: FrameType | None) -> str:
    """Returns the stack of this frame as text, without the frames of the loop itself."""
    above = takewhile(
        lambda step: step[0].f_globals.get("__name__") != "asyncio.events", traceback.walk_stack(frame)
    )
    lines = traceback.StackSummary.extract(above, limit=15) if frame else []
    return "".join(traceback.format_list(list(reversed(lines))))


def named(guilty: list[Attempt]) -> tuple[str | None, int]:
    """Returns two values: a description of the first guilty attempt, or None; and the number of the other attempts in its chunk."""
    return (repr(guilty[0]), len(guilty) - 1) if guilty else (None, 0)
