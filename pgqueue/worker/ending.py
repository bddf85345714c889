"""What may stop an attempt from outside, and what is written of the attempt then. Pure."""

from __future__ import annotations

from enum import Enum, IntEnum

from pgqueue.model.outcome import Outcome


class Ending(IntEnum):
    """What stopped an attempt. If several things did, the highest counts, in whatever order they came.

    ::

        ending      the handler learns               what is settled, if the handler ends in an error
        ─────────   ──────────────────────────────   ─────────────────────────────────────────────────
        NONE        nothing                          that error
        RELEASED    nothing: the job runs again      the job goes back, and the attempt is not counted
        CANCELLED   Cancel                           cancelled, or the error with which the handler replied
        TIMED_OUT   JobTimeoutError, or              the timeout, whatever the handler raised
                    DeadlineExceededError
        LOST        LeaseLostError                   nothing: the worker no longer has the job

    A handler that returns although it was asked to stop has completed its job, unless its lease is lost.
    """

    NONE = 0
    RELEASED = 1
    CANCELLED = 2
    TIMED_OUT = 3
    LOST = 4


class OwnCommit(IntEnum):
    """The state of the COMMIT by which a handler's own transaction completes its job."""

    NONE = 0
    UNCONFIRMED = 1  # it was sent, and its answer was lost
    CONFIRMED = 2


class NothingToSettle(Enum):
    """Why an attempt leaves nothing for the settler to write."""

    COMMITTED = "its handler's own transaction has completed the job"
    LEASE_LOST = "its lease is lost"


Conclusion = Outcome | NothingToSettle  # what an attempt comes to
