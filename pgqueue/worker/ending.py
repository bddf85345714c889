"""The events that stop an attempt from outside, and what is written about such an attempt. This module does no I/O."""

from __future__ import annotations

from enum import Enum, IntEnum

from pgqueue.model.outcome import Outcome


class Ending(IntEnum):
    """The event that stopped an attempt. If several such events happened, in any order, only the event with the highest number counts.

    ::

        ending      error that the handler gets      outcome, if the handler ends in an error
        ─────────   ──────────────────────────────   ─────────────────────────────────────────────────────────
        NONE        none                             decided by that error
        RELEASED    none: the job will run again     released: the job is handed back, and the attempt does not count
        CANCELLED   Cancel                           cancelled, or decided by the error with which the handler replied
        TIMED_OUT   JobTimeoutError, or              decided by the timeout error, whatever the handler raised
                    DeadlineExceededError
        LOST        LeaseLostError                   none: the worker no longer has the job

    If a handler was asked to stop but returns without an error, its job is completed, unless its lease is lost.
    """

    NONE = 0
    RELEASED = 1
    CANCELLED = 2
    TIMED_OUT = 3
    LOST = 4


class OwnCommit(IntEnum):
    """The state of the COMMIT by which a handler's own transaction completes its job."""

    NONE = 0
    UNCONFIRMED = 1  # the COMMIT was sent or is about to be sent, and no answer has come
    CONFIRMED = 2


class NothingToSettle(Enum):
    """The reason why the settler writes no outcome for an attempt."""

    COMMITTED = "its handler's own transaction has completed the job"
    LEASE_LOST = "its lease is lost"


Conclusion = (
    Outcome | NothingToSettle
)  # the conclusion of an attempt: its outcome, or the reason why no outcome is written
