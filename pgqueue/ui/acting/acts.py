"""All actions that the web page and the terminal offer: who may do each, what it is called, and the statement or the operation that does it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pgqueue.database import statements
from pgqueue.database.statements import Who as Actor
from pgqueue.database.statements.actions import JobAction
from pgqueue.database.statements.limits import Limit
from pgqueue.errors import InvalidOptionError
from pgqueue.model.names import check_name
from pgqueue.model.units import LARGEST_WEIGHT, seconds
from pgqueue.sql import Statement
from pgqueue.text.values import shown
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.acting.form import Form

JOB_ACTIONS: dict[str, JobAction] = {
    "retry": "retry", "cancel": "cancel", "delete": "delete", "run_now": "run_now", "edit": "edit",
}  # fmt: skip
# The fields that name jobs together, so that the person has not seen each of them.
TOGETHER = frozenset({"all", "fingerprint", "workflow", "batch"})
FURTHEST = timedelta(days=365 * 100)


@dataclass(frozen=True, slots=True)
class Act:
    """``what``: the act in words, as in ``ann may not pause queues``. ``makes``: makes the statements; None: the act is about jobs or a limit.

    ``is_careful``: a person is asked before. ``asks``: the fields that a person fills in: name and label.
    """

    role: Role
    label: str
    what: str
    makes: Callable[[Form, Actor], list[Statement[Any]]] | None = None
    is_careful: bool = False
    asks: tuple[tuple[str, str], ...] = ()


def changed_limit(limit: Limit, form: Form, who: Actor) -> Statement[int]:
    """Returns the statement that changes how much a limit allows: its concurrency, or the starts of its rate if it has no concurrency."""
    allows = number(
        form.one("allows"), "At most how many", 0 if limit.concurrency is not None else 1, LARGEST_WEIGHT
    )
    return statements.set_limit(
        queue=limit.queue, task=limit.task, per_key=limit.per_key, key=limit.key,
        concurrency=allows if limit.concurrency is not None else None,
        rate=None if limit.concurrency is not None else allows,
        period=None if limit.concurrency is not None else limit.period,
        sliding=limit.sliding, burst=None, share=None, who=who,
    )  # fmt: skip


def _name(form: Form, noun: str) -> str:
    check_name(noun, name := form.one(noun))
    return name


def number(text: str, what: str, least: int, most: int) -> int:
    """Returns the whole number in a field. Raises InvalidOptionError, which says what the number is for."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not (
        digits.isascii() and digits.isdecimal() and len(digits) < 12 and least <= sign * int(digits) <= most
    ):
        raise InvalidOptionError(
            f"{what} is {shown(text)}.", do=f"give a whole number from {least:,} to {most:,}"
        )
    return sign * int(digits)


def edits(form: Form, now: datetime) -> dict[str, object]:
    """Returns the changes that a form asks for. An empty field changes nothing. Raises InvalidOptionError if no field is filled in."""
    found: dict[str, object] = {}
    if text := form.one("priority"):
        found["priority"] = number(text, "The priority", -32_767, 32_767)
    if form.one("queue"):
        found["queue"] = _name(form, "queue")
    if text := form.one("run_at"):
        found["run_at"] = _moment(text, now).isoformat()
    if not found:
        raise InvalidOptionError("No field is filled in.", do="give a priority, a queue or a time")
    return found


def _moment(text: str, now: datetime) -> datetime:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return now + timedelta(seconds=seconds(text, "The time"))
    if given.tzinfo is None:
        raise InvalidOptionError(
            f"The time {shown(text)} has no zone.", do="add Z for UTC, or an offset such as +01:00"
        )
    if not now - FURTHEST < given < now + FURTHEST:
        raise InvalidOptionError(f"The time {shown(text)} is too far away.", do="give a time of this century")
    return given.astimezone(UTC)


ACTS: dict[str, Act] = {
    "retry": Act(Role.operator, "Retry", "retry jobs"),
    "run_now": Act(Role.operator, "Run now", "run jobs now"),
    "cancel": Act(Role.operator, "Cancel", "cancel jobs", is_careful=True),
    "delete": Act(Role.operator, "Delete", "delete jobs", is_careful=True),
    "edit": Act(
        Role.operator, "Edit", "edit jobs",
        asks=(("priority", "Priority (smaller runs first)"), ("queue", "Queue"), ("run_at", "Due (a time, or in how long: 5m)")),
    ),
    "pause": Act(Role.admin, "Pause", "pause queues", lambda form, who: [statements.pause_queue(_name(form, "queue"), who=who)]),
    "resume": Act(Role.admin, "Resume", "resume queues", lambda form, who: [statements.resume_queue(_name(form, "queue"), who=who)]),
    "remove_limit": Act(
        Role.admin, "Remove", "remove limits", lambda form, who: [statements.remove_limit(form.id("limit"), who=who)], is_careful=True
    ),
    "set_limit": Act(Role.admin, "Change", "change limits", asks=(("allows", "At most how many"),)),
    "run_schedule": Act(
        Role.admin, "Run now", "run schedules", lambda form, who: [statements.run_schedule(_name(form, "schedule"), who=who)]
    ),
    "pause_schedule": Act(
        Role.admin, "Pause", "pause schedules", lambda form, who: [statements.pause_schedule(_name(form, "schedule"), True, who=who)]
    ),
    "resume_schedule": Act(
        Role.admin, "Resume", "resume schedules", lambda form, who: [statements.pause_schedule(_name(form, "schedule"), False, who=who)]
    ),
    "retry_workflow": Act(
        Role.operator, "Retry", "retry workflows",
        lambda form, who: [statements.retry_workflow(form.id("workflow"), form.one("node") or None, who=who)],
        asks=(("node", "From the node (empty: all that failed)"),),
    ),
    "cancel_workflow": Act(
        Role.operator, "Cancel", "cancel workflows", lambda form, who: [statements.cancel_workflow(form.id("workflow"), who=who)], is_careful=True
    ),
    "retry_batch": Act(
        Role.operator, "Retry failed jobs", "retry batches", lambda form, who: [statements.retry_members(form.id("batch"), 0, 1000, who=who)]
    ),
    "cancel_batch": Act(
        Role.operator, "Cancel", "cancel batches", lambda form, who: [statements.cancel_workflow(form.id("batch"), who=who)], is_careful=True
    ),
    "resolve_alert": Act(
        Role.operator, "Resolve", "resolve alerts", lambda form, who: [statements.resolve_alert(one, who=who) for one in form.ids()]
    ),
    "undo": Act(Role.operator, "Undo", "undo actions"),
}  # fmt: skip


def asks_first(word: str, fields: Collection[str]) -> bool:
    """Returns whether a person is asked before the action is done, if its form has fields with these names."""
    act = ACTS[word]
    return act.is_careful or bool(act.asks) or not TOGETHER.isdisjoint(fields)


def acts_of(who: Who | None) -> frozenset[str]:
    """Returns the words of the actions that the caller may do."""
    return frozenset(word for word, act in ACTS.items() if who is not None and who.may(act.role))
