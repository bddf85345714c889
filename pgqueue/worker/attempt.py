"""One attempt of one job: the claimed row, and everything that has happened to the attempt since its claim. Does no I/O.

attempt_lease.py has the functions that a handler can call for its attempt. running/call.py calls the handler.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from pgqueue.errors import (
    AttemptError,
    DeadlineExceededError,
    JobTimeoutError,
    LeaseLostError,
    StepRefusedError,
)
from pgqueue.model.job import Job
from pgqueue.model.lease import Lease
from pgqueue.model.outcome import Cancel, Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.redaction import masked
from pgqueue.model.steps import Checkpoint, Question
from pgqueue.model.suspension import Request, Suspended, Suspension
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Row
from pgqueue.telemetry.job_context import JobContext
from pgqueue.text.described import TRACEBACK
from pgqueue.worker.ending import Ending, NothingToSettle, OwnCommit
from pgqueue.worker.rare_fields import RareFields
from pgqueue.worker.secret_values import secret_values

TICK = 0.01  # a timer can fire up to this many seconds early
NOT_STOPPED, NOT_SENT = Ending.NONE, OwnCommit.NONE

_ending = threading.Lock()  # the loop and the thread of a handler can end the same attempt at the same moment


class Lines(Protocol):
    """Takes the log lines that attempts keep (job_lines.py)."""

    def add(self, lines: Iterable[Any]) -> None: ...


class Keeper(Protocol):
    """Stores and reads checkpoints, and ends waits, when an attempt asks for it.

    If the question is a new checkpoint, the answer is the checkpoint that is stored now under its name and key: the new one, or another one
    that was stored earlier. If the attempt has lost its lease, the answer is LeaseLostError. If the database refuses the value, the answer
    is StepRefusedError.
    """

    @property
    def lines(self) -> Lines: ...

    def ask(self, attempt: Attempt, question: Question) -> Future[list[Checkpoint]]:
        """Asks the question and returns the future answer. Any thread is allowed to call this."""

    async def aask(self, attempt: Attempt, question: Question) -> list[Checkpoint]:
        """Asks the question and waits for the answer. Any event loop is allowed to await this."""


def required(keeper: Keeper | None) -> Keeper:
    if keeper is None:
        raise StepRefusedError(
            "No step can be done here, because its handler has ended, or because no worker runs it."
        )
    return keeper


class Attempt:
    """A claimed job with its lease. Its arguments are not yet decoded. ``row`` is a row that ``claim.sql`` returned."""

    __slots__ = (
        "_secrets",
        "args",
        "attempt",
        "claimed",
        "claimed_at",
        "concurrency_key",
        "crash_count",
        "created_at",
        "ending",
        "has_checkpoint",
        "id",
        "keeper",
        "kept",
        "known",
        "lease_id",
        "max_attempts",
        "may_have_seats",
        "own_commit",
        "priority",
        "progress",
        "queue",
        "ran",
        "rare",
        "run_at",
        "span",
        "spec",
        "started_at",
        "suspension",
        "task",
        "timeout",
        "trace_context",
        "worker_id",
    )  # fmt: skip

    def __init__(self, worker_id: int, row: Row, *, may_have_seats: bool = True) -> None:
        (
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context, rare,
            self.concurrency_key,
        ) = self.claimed = row  # fmt: skip
        self.rare = None if rare is None else RareFields.of(rare)
        self.worker_id = worker_id
        self.may_have_seats = may_have_seats  # False: the job has surely taken no seat of a limit
        self.claimed_at = monotonic()
        self.spec: TaskSpec | None = None  # set when the handler is called
        self._secrets: frozenset[str] | None = None
        self.kept: Any = None  # the log lines that it keeps (job_lines.py)
        self.started_at = 0.0
        self.ran: float | None = (
            None  # for how many seconds the handler ran; None: it has not ended, or was not called
        )
        self.span: str | None = (
            None  # the text by which the next attempt of the job finds the span of this one
        )
        self.ending = NOT_STOPPED
        self.own_commit = NOT_SENT
        self.keeper: Keeper | None = None  # stores the checkpoints of its steps; the runner sets it
        # All checkpoints of the job, as they were before the attempt began. None: the worker has not read them ahead.
        self.known: list[Checkpoint] | None = None
        # Whether this attempt has stored a checkpoint. None: it has saved its place on a user's connection, and the user perhaps did not
        # commit.
        self.has_checkpoint: bool | None = False
        self.suspension: Suspension | None = None  # None: the handler has asked for no suspension
        self.progress: Progress | None = (
            None  # the handler's last progress, if it is not yet written to the database
        )

    def __repr__(self) -> str:
        return f"job {self.id} ({self.task})"

    def context(self) -> JobContext:
        """Returns what log records say of the attempt."""
        return JobContext(self.id, self.task, self.queue, self.attempt, self.worker_id)

    def mask(self, text: str) -> str:
        """Returns the text with a mask in the place of each secret value in the arguments of the job."""
        return masked(text, self.secrets())

    def secrets(self) -> frozenset[str]:
        """Returns the secret values in the arguments of the job. Raises no error."""
        if self._secrets is None:
            if self.spec is None:
                return frozenset()
            self._secrets = secret_values(self.spec, self.args)
        return self._secrets

    def row(self) -> list[object]:
        """Returns the claimed row for a child process. In it, expiry and deadline are given as the seconds that are left until them."""
        *columns, _, key = self.claimed
        return [*columns, None if self.rare is None else self.rare.text(), key]

    def job(self, lease: Lease | None = None) -> Job:
        """Returns the ``Job`` object that a handler gets if it has a parameter for it."""
        run_at, created_at = (datetime.fromtimestamp(at, UTC) for at in (self.run_at, self.created_at))
        # in the order of the fields, because a call with names takes nearly twice as long
        return Job(
            self.id, self.queue, self.task, json.loads(self.args), "running", self.priority, run_at, self.attempt,
            self.max_attempts, self.lease_id, created_at, self.worker_id, self.crash_count,
            timeout=self.timeout, concurrency_key=self.concurrency_key, lease=lease,
            **({} if self.rare is None else self.rare.facts()),
        )  # fmt: skip

    @property
    def is_node(self) -> bool:
        """Whether the job is a node of a workflow. ``settle`` must write its outcome, because ``complete`` does not tell workflows of it."""
        return self.rare is not None and self.rare.workflow_id is not None

    # ---------------------------------------------------------------- its time

    def until_deadline(self) -> float | None:
        """Returns the seconds until the job's deadline. They are negative if the deadline has passed. None: the job has no deadline."""
        if self.rare is None or self.rare.deadline is None:
            return None
        return self.rare.deadline - monotonic()

    def seconds_left(self) -> float | None:
        """Returns for how many seconds the attempt can run if it starts now: until its timeout or its deadline. None: there is no limit."""
        left = None if self.rare is None else self.until_deadline()
        return self.timeout if left is None else max(min(left, self.timeout or left), 0.0)

    # ---------------------------------------------------------------- its progress

    def note_progress(self, progress: Progress) -> None:
        self.progress = progress

    def with_progress(self, outcome: Outcome) -> Outcome:
        """Returns the outcome. If the handler's last progress is not yet written to the database, the returned outcome contains it."""
        return outcome if self.progress is None else replace(outcome, progress=self.progress.as_json())

    def with_notes(self, outcome: Outcome) -> Outcome:
        """Returns the outcome with the progress and, if another attempt can follow, with the attempt's span."""
        outcome = self.with_progress(outcome)
        if self.span is not None and outcome.state in ("retrying", "pending"):
            outcome = replace(outcome, span=self.span)
        return outcome

    def note_checkpoint(self) -> None:
        self.has_checkpoint = True

    def doubt_checkpoint(self) -> None:
        """Notes that the attempt has perhaps stored a checkpoint. Only the owner of the connection knows whether its transaction commits.

        If the attempt fails, pgqueue asks the database (``confirm`` in confirming.py).
        """
        if not self.has_checkpoint:
            self.has_checkpoint = None

    # ---------------------------------------------------------------- its suspension

    def ask_to_suspend(self, request: Request) -> None:
        """Notes a sleep or a wait that is not over. The handler goes on until ``begin_to_suspend`` is called."""
        if self.suspension is None:
            self.suspension = Suspension()
        self.suspension.add(request)

    def withdraw(self, request: Request) -> None:
        """Forgets a sleep or a wait that the handler has given up, for example because it cancelled the asyncio task of the call."""
        if self.suspension is not None and not self.suspension.is_begun:
            self.suspension.remove(request)

    def begin_to_suspend(self) -> None:
        """From now on, every call that the handler makes for its attempt raises Suspended."""
        assert self.suspension is not None
        self.suspension.is_begun = True

    @property
    def is_suspending(self) -> bool:
        return self.suspension is not None and self.suspension.is_begun

    # ---------------------------------------------------------------- its ending

    def end(self, ending: Ending) -> bool:
        """Notes the event that stops the attempt. Any thread is allowed to call this.

        If the attempt already has this ending or an ending with a higher number (ending.py), changes nothing and returns False.
        """
        with _ending:
            if ending <= self.ending:
                return False
            self.ending = ending
            return True

    def check(self) -> None:
        """If the attempt was stopped, raises the error that reports this to the handler. Raises Suspended if the attempt is suspended."""
        if (reason := self.reason_to_stop()) is not None:
            raise reason
        if self.is_suspending:
            raise Suspended

    def reason_to_stop(self) -> Exception | None:
        """Returns the error that reports the ending to the handler. Returns None if there is no ending, or if it is not reported."""
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
        """Returns the cause of a handler's ``error``: the reason why the attempt was stopped, or ``error`` itself if it was not stopped.

        If the attempt was cancelled and the handler replied with an error of its own, that error is the cause.
        """
        is_reply = not issubclass(
            type(error), asyncio.CancelledError
        )  # a user's class can define another __class__
        if self.ending is Ending.CANCELLED and is_reply:
            return error
        reason = self.reason_to_stop()
        return error if reason is None else reason.with_traceback(TRACEBACK.__get__(error))

    def nothing_to_settle(self) -> NothingToSettle | None:
        """Returns the reason why the settler writes no outcome for the attempt; None if the settler must write its outcome."""
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
