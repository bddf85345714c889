"""One attempt of one job: the claimed row, and what has happened to it since. Pure.

What the attempt lends to its handler: attempt_lease.py. How it is performed: running/call.py.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

from pgqueue.errors import AttemptError, DeadlineExceededError, JobTimeoutError, LeaseLostError
from pgqueue.model.job import Job, Lease
from pgqueue.model.outcome import Cancel, Outcome
from pgqueue.model.progress import Progress
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Row
from pgqueue.text.described import TRACEBACK
from pgqueue.worker.ending import Ending, NothingToSettle, OwnCommit
from pgqueue.worker.rare_fields import RareFields

TICK = 0.01  # seconds by which a timer may be early
NOT_STOPPED, NOT_SENT = Ending.NONE, OwnCommit.NONE

_ending = threading.Lock()  # the loop and the thread of a handler may end the same attempt at the same time


class Attempt:
    """A claimed job with its lease. Its arguments are not decoded. It is made from a row of ``claim.sql``, in the order of the columns."""

    __slots__ = (
        "args", "attempt", "claimed", "claimed_at", "concurrency_key", "crash_count", "created_at", "ending", "id", "lease_id",
        "max_attempts", "may_have_seats", "own_commit", "priority", "progress", "queue", "rare", "run_at", "started_at",
        "task", "timeout", "trace_context", "worker_id",
    )  # fmt: skip

    def __init__(self, worker_id: int, row: Row, *, may_have_seats: bool = True) -> None:
        (
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context, rare,
            self.concurrency_key,
        ) = self.claimed = row  # fmt: skip
        self.rare = None if rare is None else RareFields.of(rare)
        self.worker_id = worker_id
        self.may_have_seats = may_have_seats  # seats of limits, for which other jobs wait
        self.claimed_at = monotonic()
        self.started_at = 0.0
        self.ending = NOT_STOPPED
        self.own_commit = NOT_SENT
        self.progress: Progress | None = None  # what its handler said last, until that is written

    def __repr__(self) -> str:
        return f"job {self.id} ({self.task})"

    def row(self) -> list[object]:
        """The claimed row for a child process. For the expiry and the deadline it holds the seconds that are left now."""
        *columns, _, key = self.claimed
        return [*columns, None if self.rare is None else self.rare.text(), key]

    def job(self, lease: Lease | None = None) -> Job:
        """The typed job for a handler that asks for it."""
        return Job(
            id=self.id, queue=self.queue, task=self.task, args=json.loads(self.args), state="running",
            priority=self.priority, run_at=datetime.fromtimestamp(self.run_at, UTC), attempt=self.attempt,
            max_attempts=self.max_attempts, lease_id=self.lease_id, worker_id=self.worker_id,
            created_at=datetime.fromtimestamp(self.created_at, UTC), crash_count=self.crash_count,
            timeout=self.timeout, concurrency_key=self.concurrency_key, lease=lease,
            **({} if self.rare is None else self.rare.facts()),
        )  # fmt: skip

    # ---------------------------------------------------------------- its time

    def until_deadline(self) -> float | None:
        """Seconds until its deadline, if it has one; less than 0 once the deadline has passed."""
        if self.rare is None or self.rare.deadline is None:
            return None
        return self.rare.deadline - monotonic()

    def seconds_left(self) -> float | None:
        """Seconds for which it may run from now on, by its timeout and its deadline."""
        left = self.until_deadline()
        return self.timeout if left is None else max(min(left, self.timeout or left), 0.0)

    # ---------------------------------------------------------------- its progress

    def note_progress(self, progress: Progress) -> None:
        self.progress = progress

    def with_progress(self, outcome: Outcome) -> Outcome:
        """The outcome. If the handler's last progress is not written yet, the outcome carries it."""
        return outcome if self.progress is None else replace(outcome, progress=self.progress.as_json())

    # ---------------------------------------------------------------- its ending

    def end(self, ending: Ending) -> bool:
        """Notes what stops the attempt. Any thread may call this. Returns whether the ending is new: one that is not higher changes nothing."""
        with _ending:
            if ending <= self.ending:
                return False
            self.ending = ending
            return True

    def check(self) -> None:
        """If the handler must learn of an ending, raises the error that says so."""
        if (reason := self.reason_to_stop()) is not None:
            raise reason

    def reason_to_stop(self) -> Exception | None:
        """The error by which a handler learns of the ending; None if it is to learn nothing."""
        match self.ending:
            case Ending.CANCELLED:
                return Cancel("cancelled on request")
            case Ending.TIMED_OUT:
                return self._timeout_error()
            case Ending.LOST:
                return LeaseLostError(self.id, self.lease_id)
            case Ending.NONE | Ending.RELEASED:
                return None

    def cause_of(self, error: BaseException) -> BaseException:
        """Why a handler ended in ``error``: by what stopped it, or else by ``error`` itself.

        After a cancel, an error of the handler's own counts, because it is the handler's reply.
        """
        is_reply = not issubclass(type(error), asyncio.CancelledError)  # its __class__ may lie
        if self.ending is Ending.CANCELLED and is_reply:
            return error
        reason = self.reason_to_stop()
        return error if reason is None else reason.with_traceback(TRACEBACK.__get__(error))

    def nothing_to_settle(self) -> NothingToSettle | None:
        """Why nothing may be written of the attempt; None if its outcome counts."""
        if not self.ending and not self.own_commit:
            return None  # the usual case, and the quickest
        if self.own_commit is OwnCommit.CONFIRMED:
            return NothingToSettle.COMMITTED
        return NothingToSettle.LEASE_LOST if self.ending is Ending.LOST else None

    def _timeout_error(self) -> AttemptError:
        left = self.until_deadline()
        if self.timeout is None or (left is not None and left < TICK):
            return DeadlineExceededError("Its deadline passed while it ran.")
        return JobTimeoutError(
            f"It ran longer than its timeout of {self.timeout:g} s.",
            do="give its task a longer timeout=, or make its work shorter",
        )
