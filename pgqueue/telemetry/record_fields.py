"""The stable name of each fact's event, and the fields of its log record. docs/internals/events.md lists both.

The name is made from the name of the fact's class: JobCompleted becomes ``job.completed``. Where that would read badly, NAMES has another.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import database as d
from pgqueue.telemetry.events import jobs as j
from pgqueue.telemetry.events import maintenance as m
from pgqueue.telemetry.events import users as u
from pgqueue.telemetry.events import workers as w
from pgqueue.text.described import clean, describe
from pgqueue.text.shown import visible
from pgqueue.text.values import name_of

FIELD_LIMIT = 2_000  # the middle of a longer text is cut out; in characters
WORD = re.compile(r"(?<!^)(?=[A-Z])")
ERROR = re.compile(r"([A-Za-z_]\w*)(?::|\Z)")

NAMES: dict[type[Fact], str] = {
    j.JobRetried: "job.retry_scheduled",
    j.EndedLate: "handler.ended_late",
    j.TimeoutIgnored: "handler.timeout_ignored",
    w.CountsLost: "stats.counts_lost",
    w.GoodbyeFailed: "worker.goodbye_failed",
    w.LastOutcomesNotTaken: "outcomes.not_taken",
    w.BlockageNotNoted: "loop.blockage_not_noted",
    w.BlockedProcessEnded: "process.blocked_ended",
    w.BlockedJobsNotSettled: "jobs.blocked_not_settled",
    d.TurnFailed: "service.failed",
    m.LeadEnded: "leader.ended",
    m.CrashLoopEnded: "job.crash_loop_ended",
    m.OverdueJobFinished: "job.overdue_finished",
    m.NewerDeployInForce: "deploy.newer_in_force",
    u.EndOfWorkerAsked: "worker.end_asked",
    u.SignalTaken: "process.signal_taken",
    u.TaskFactoryFailed: "loop.task_factory_failed",
}


def event_name(kind: type[Fact]) -> str:
    """Returns the stable name of the event: a noun, a dot, and what happened, such as ``lease.lost``."""
    if kind in NAMES:
        return NAMES[kind]
    first, *rest = WORD.split(kind.__name__)
    return f"{first}.{'_'.join(rest)}".lower()


def fields_of(fact: Any) -> dict[str, object]:
    """Returns the fields of the fact's log record: ``event``, and the fields of the fact. A run is given by its own fields.

    An error is given as a text (``error``) and by the name of its class (``error_type``). Texts have no control characters.
    """
    found: dict[str, object] = {"event": event_name(type(fact))}
    for name, value in zip(fact._fields, fact, strict=True):
        if isinstance(value, j.Run):
            found.update(value._asdict())
        elif isinstance(value, BaseException):
            found |= {"error": shown(describe(value)), "error_type": name_of(value)}
        elif name == "error" and isinstance(value, str):
            named = ERROR.match(value)
            found |= {"error": shown(value), "error_type": named[1] if named else None}
        elif name not in ("bug", "raised"):
            found[name] = shown(value)
    return found


def shown(value: Any) -> Any:
    """Returns the value of a field as a record has it: a number, a text, or a list of these."""
    if isinstance(value, str):
        return visible(value if len(value) <= FIELD_LIMIT else clean(value, FIELD_LIMIT))
    if isinstance(value, tuple):
        return [shown(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
