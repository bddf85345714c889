"""Writes the log lines of facts. The folder lines/ has the texts of the lines, and log_output.py decides where the lines go.

``%(pathname)s:%(lineno)d`` of a line shows the code that emitted the fact, not this module.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from pgqueue.telemetry.events import Fact, subscribe
from pgqueue.telemetry.events.jobs import (
    EnqueueEnded,
    JobCompleted,
    JobLost,
    JobPutBack,
    JobsEnqueued,
    JobsTaken,
    JobStarted,
    OutcomesWritten,
)
from pgqueue.telemetry.events.maintenance import JobStalled, LeadEnded, LeaderElected, Measured
from pgqueue.telemetry.lines import Line, Wording, database, jobs, maintenance, users, workers
from pgqueue.telemetry.log_output import LOG
from pgqueue.telemetry.record_fields import fields_of
from pgqueue.text.described import TRACEBACK, plain
from pgqueue.text.shown import visible

EMITTER = 5  # the number of frames between the call of the logger and the code that called emit

LINES: dict[type[Fact], Wording] = {
    **jobs.LINES, **workers.LINES, **database.LINES, **maintenance.LINES, **users.LINES,
}  # fmt: skip
# Facts without a log line. Some of them happen thousands of times a second. The others have a meaning only for other subscribers.
SILENT: set[type[Fact]] = {
    JobsEnqueued, EnqueueEnded, JobsTaken, JobStarted, JobCompleted, JobPutBack, JobLost, OutcomesWritten, LeaderElected, LeadEnded, Measured, JobStalled,
}  # fmt: skip

Raised = tuple[type[BaseException], BaseException, TracebackType | None]


def log_fact(fact: Fact) -> None:
    """Writes the log line of a fact, unless its wording returns None."""
    _write(LINES[type(fact)](fact), fact)


def text_of(fact: Fact) -> str:
    """Returns the words of a fact's log line, on one line."""
    line = LINES[type(fact)](fact)
    return "" if line is None else visible(line.text % line.args)


def endings_of(is_mine: Callable[[int], bool]) -> Callable[[JobCompleted], None]:
    """Returns a subscriber for a worker with ``--log-jobs``. ``is_mine`` returns whether a worker's id is the id of this worker.

    It is needed because other workers in the same process, which can run without ``--log-jobs``, also emit facts of this class.
    """

    def log_ending(fact: JobCompleted) -> None:
        if is_mine(fact.run.worker_id):
            _write(jobs.ENDING(fact), fact)

    return log_ending


def _write(line: Line | None, fact: Fact) -> None:
    if line is not None and LOG.isEnabledFor(line.level):
        LOG.log(
            line.level,
            line.text,
            *line.args,
            exc_info=_exception(fact),
            extra=fields_of(fact),
            stacklevel=EMITTER,
        )


def _exception(fact: Any) -> BaseException | Raised | None:
    """Returns the error that the line shows, or None.

    If users' code raised the error, this is a copy without code of users, because logging the error itself would call users' code again.
    """
    raised: BaseException | None = getattr(fact, "raised", None)
    if raised is None:
        bug: BaseException | None = getattr(fact, "bug", None)
        return bug
    shown = plain(raised)
    return type(shown), shown, TRACEBACK.__get__(raised)


def begin() -> None:
    """Subscribes to every fact that has a line. The import of ``pgqueue.telemetry`` calls this once."""
    for kind in LINES:
        subscribe(kind, log_fact)
