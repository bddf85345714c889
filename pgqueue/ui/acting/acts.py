"""All actions that the web page and the terminal offer: who may do each, what it is called, and the statement or the operation that does it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgqueue.database import statements
from pgqueue.database.statements.actions import JobAction
from pgqueue.errors import InvalidOptionError
from pgqueue.model.units import seconds
from pgqueue.text.values import shown
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.settings import Setting, change, changed_limit, name_in, number, retry_of

JOB_ACTIONS: dict[str, JobAction] = {
    "retry": "retry", "cancel": "cancel", "delete": "delete", "run_now": "run_now", "edit": "edit",
}  # fmt: skip
# The fields that name jobs together, so that the person has not seen each of them.
TOGETHER = frozenset({"all", "fingerprint", "workflow", "batch"})
FURTHEST = timedelta(days=365 * 100)


@dataclass(frozen=True, slots=True)
class Act:
    """``what``: the act in words, as in ``ann may not pause queues``. ``does``: the flow that does it; None: the act is about jobs.

    ``is_careful``: a person is asked before. ``asks``: the fields that a person fills in: name and label.
    """

    role: Role
    label: str
    what: str
    does: Setting | None = None
    is_careful: bool = False
    asks: tuple[tuple[str, str], ...] = ()


def edits(form: Form, now: datetime) -> dict[str, object]:
    """Returns the changes that a form asks for. An empty field changes nothing. Raises InvalidOptionError if no field is filled in."""
    found: dict[str, object] = {}
    if text := form.one("priority"):
        found["priority"] = number(text, "The priority", -32_767, 32_767)
    if form.one("queue"):
        found["queue"] = name_in(form, "queue")
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
    "pause": Act(Role.admin, "Pause", "pause queues", change(lambda form, who: [statements.pause_queue(name_in(form, "queue"), who=who)])),
    "resume": Act(Role.admin, "Resume", "resume queues", change(lambda form, who: [statements.resume_queue(name_in(form, "queue"), who=who)])),
    "remove_limit": Act(
        Role.admin, "Remove", "remove limits", change(lambda form, who: [statements.remove_limit(form.id("limit"), who=who)]), is_careful=True
    ),
    "set_limit": Act(Role.admin, "Change", "change limits", changed_limit, asks=(("allows", "At most how many"),)),
    "run_schedule": Act(
        Role.admin, "Run now", "run schedules", change(lambda form, who: [statements.run_schedule(name_in(form, "schedule"), who=who)])
    ),
    "pause_schedule": Act(
        Role.admin, "Pause", "pause schedules", change(lambda form, who: [statements.pause_schedule(name_in(form, "schedule"), True, who=who)])
    ),
    "resume_schedule": Act(
        Role.admin, "Resume", "resume schedules", change(lambda form, who: [statements.pause_schedule(name_in(form, "schedule"), False, who=who)])
    ),
    "retry_workflow": Act(
        Role.operator, "Retry", "retry workflows",
        change(lambda form, who: [statements.retry_workflow(form.id("workflow"), form.one("node") or None, who=who)]),
        asks=(("node", "From the node (empty: all that failed)"),),
    ),
    "cancel_workflow": Act(
        Role.operator, "Cancel", "cancel workflows", change(lambda form, who: [statements.cancel_workflow(form.id("workflow"), who=who)]), is_careful=True
    ),
    "retry_batch": Act(
        Role.operator, "Retry failed jobs", "retry batches", retry_of
    ),
    "cancel_batch": Act(
        Role.operator, "Cancel", "cancel batches", change(lambda form, who: [statements.cancel_workflow(form.id("batch"), who=who)]), is_careful=True
    ),
    "resolve_alert": Act(
        Role.operator, "Resolve", "resolve alerts", change(lambda form, who: [statements.resolve_alert(one, who=who) for one in form.ids()])
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
