"""Does what a form asks for: an action on jobs, a change of a setting, or an undo. The caller has checked that the person may do it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from psycopg import AsyncConnection

from pgqueue.database import statements
from pgqueue.database.flows import drive_async
from pgqueue.database.statements import Who as Actor
from pgqueue.database.statements.actions import AuditRow
from pgqueue.errors import (
    ActionNotFoundError,
    ActionNotUndoneError,
    ErrorGroupNotFoundError,
    InvalidOptionError,
    JobUnchangedError,
)
from pgqueue.model.refusal import reasons, why_refused
from pgqueue.sql import Statement
from pgqueue.text.counted import count
from pgqueue.ui.access.who import Role
from pgqueue.ui.acting.acts import ACTS, JOB_ACTIONS, Act, edits
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.operations import Action, Changed, Operation, Preview, Progress
from pgqueue.ui.acting.performing import loss_explained, perform_async
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.reading.search import read

NAMED = 20  # ids that a question lists
TICKED = 200  # rows that one form can name

Ask = Callable[[Statement[list[int]]], Awaitable[list[int]]]
AskAudit = Callable[[Statement[list[AuditRow]]], Awaitable[list[AuditRow]]]


async def job_action(form: Form, actor: Actor, ask: Ask) -> Action:
    """Returns the action on jobs that the form asks for: those that were ticked, that match a search, or that have one error.

    Raises InvalidOptionError if the form names no jobs, or if its search is not clear. ``ask``: sends a statement.
    """
    name = JOB_ACTIONS[form.one("action")]
    changes = None
    if name == "edit" and form.one("confirmed") == "yes":
        changes = edits(form, datetime.now(UTC))
    if form.one("all") == "yes":
        search = read(form.one("q"))
        if search.problems:
            raise InvalidOptionError(
                f"The search is not clear: {search.problems[0]}", do="correct the search"
            )
        if search.job_id is not None:
            return Action(name=name, who=actor, ids=[search.job_id], changes=changes)
        return Action(name=name, who=actor, which=search.which, changes=changes)
    if fingerprint := form.one("fingerprint"):
        ids = await ask(statements.list_dead_of_error(fingerprint))
        if not ids:
            raise ErrorGroupNotFoundError("No dead job has this error.", do="load the page again")
        return Action(name=name, who=actor, ids=ids)
    ids = form.ids()
    if not ids or len(ids) > TICKED:
        raise InvalidOptionError(
            f"{count(len(ids), 'job')} ticked.", do=f"go back, and tick 1 to {TICKED} rows"
        )
    return Action(name=name, who=actor, ids=ids, changes=changes)


async def operate(connection: AsyncConnection, operation: Operation) -> int | None:
    """Performs the action on an autocommit connection, and returns its number in the audit.

    Raises JobUnchangedError if no job was changed.
    """
    refused: list[Changed] = []
    async for done in perform_async(connection, operation):
        refused += [] if len(refused) > 1 else [one for one in done if not one.is_done]
    if operation.progress.changed == 0 and refused:
        raise JobUnchangedError(_refusal(operation, refused[0]), do="Its page says how the job stands.")
    return operation.progress.audit_id


def _refusal(operation: Operation, first: Changed) -> str:
    why = why_refused(first.result)
    if operation.progress.seen == 1:
        return f"Job {first.id} was not changed: {why}."
    return f"None of {operation.progress.seen:,} jobs was changed. Job {first.id}: {why}."


async def set_setting(connection: AsyncConnection, form: Form, chosen: Act, actor: Actor) -> int | None:
    """Does an action that is not about jobs, on an autocommit connection. Returns its number in the audit.

    Raises NotFoundError if there is nothing to change.
    """
    assert chosen.does is not None
    with loss_explained(Progress()):
        return await drive_async(connection, chosen.does(form, actor))


async def undo(connection: AsyncConnection, undoing: Undo) -> int | None:
    """Undoes an action with all its slices. Returns the number of the undo in the audit. Raises ActionNotUndoneError if nothing was undone."""
    async for _ in perform_async(connection, undoing):
        pass
    if not undoing.progress.changed:
        raise ActionNotUndoneError(
            "Nothing was undone.",
            why=reasons(undoing.left) or "it was undone already, its time is over, or it cannot be undone",
            do="The page of the action says more.",
        )
    return undoing.progress.audit_id


async def role_to_undo(audit_id: int, ask: AskAudit) -> Role:
    """Returns the role that a person needs to undo an action: that of the action itself. Raises NotFoundError if there is no such action."""
    found = await ask(statements.list_audit(audit_id=audit_id))
    if not found:
        raise ActionNotFoundError(f"There is no action {audit_id}.", do="See all actions on the page Audit.")
    done = ACTS.get(found[0].action)
    return Role.admin if done is None else done.role


# ---------------------------------------------------------------- what a person is asked before


def about_of(form: Form) -> str:
    """Returns in words what a form is about."""
    if form.one("all") == "yes":
        return f"All jobs that match: {form.one('q')}" if form.one("q") else "All jobs."
    if form.one("fingerprint"):
        return "All dead jobs with this error."
    ids = form.fields.get("id", ())
    if ids:
        noun = "Job" if form.one("action") in JOB_ACTIONS else "Alert"
        more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
        return (noun if len(ids) == 1 else f"{noun}s") + " " + ", ".join(ids[:NAMED]) + more
    return ", ".join(
        f"{name} {form.one(name)}"
        for name in ("queue", "limit", "schedule", "workflow", "batch", "audit")
        if form.one(name)
    )


def heading_of(chosen: Act, preview: Preview | None) -> str:
    """Returns the question: ``Cancel 12 jobs?``."""
    if preview is None:
        return f"{chosen.label}?"
    number = f"{preview.changes:,}" if not preview.more else f"more than {preview.changes:,}"
    jobs = "job" if preview.changes == 1 and not preview.more else "jobs"
    return f"{chosen.label} {number} {jobs}?"


def text_of(preview: Preview | None) -> str:
    """Returns what a person should know about the numbers; empty if they are simply right."""
    if preview is None:
        return ""
    if preview.changes == 0:
        return "No job would be changed."
    return "More jobs can match. Only the first 10,000 were counted." if preview.more else ""


def refused_of(preview: Preview | None) -> str:
    """Returns how many jobs the action would not change, and why."""
    return f"Not changed: {reasons(preview.refused)}." if preview and preview.refused else ""
