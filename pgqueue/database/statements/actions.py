"""The statements of operators' actions on jobs, of previews and undos, and of the audit.

``Operation`` of ``pgqueue.ui.acting`` sends them in the right order, for any number of jobs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from pgqueue.database.statements.decoding import array, column, each, maybe_array, one, plain, statement
from pgqueue.database.statements.jobs import JobFilter
from pgqueue.database.statements.noting import Who
from pgqueue.sql import Row, Statement

JOBS_AT_ONCE = 1000  # one call of act() can change at most this many jobs
PREVIEWED = 10_000  # a preview counts exactly up to this many jobs
JobAction = Literal["retry", "cancel", "delete", "run_now", "edit"]
# The states of the jobs that an action can change, and those that it looks for if a filter names no state.
ABLE: dict[JobAction, tuple[str, ...]] = {
    "retry": ("dead", "cancelled"),
    "cancel": ("pending", "running", "retrying", "waiting"),
    "delete": ("pending", "retrying", "waiting", "completed", "cancelled", "dead"),
    "run_now": ("pending", "retrying"),
    "edit": ("pending", "retrying", "waiting"),
}
BY_DEFAULT: dict[JobAction, tuple[str, ...]] = {**ABLE, "retry": ("dead",)}


class ActedJob(NamedTuple):
    """What an action or an undo did with a job: ``result`` is a word of functions/act.sql, or of functions/undo.sql.

    ``audit_id``: the row of pgqueue.audit; None: an action has changed nothing. ``job_id`` is None if the action was not about jobs.
    """

    audit_id: int | None
    job_id: int | None
    result: str


class ChosenJob(NamedTuple):
    id: int
    task: str
    state: str


class Previewed(NamedTuple):
    """So many jobs in this state would be changed (``refused`` is None), or refused for this reason."""

    state: str
    refused: str | None
    jobs: int


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An action. ``about``: what it was about. ``changed``, ``seen``: numbers of jobs. ``refused``: numbers of jobs, by the reason.

    ``role``: the role of the database session. ``ended``: it is done, or its end was noted when it failed. ``stopped``: why it stopped before
    its end; None: it has not. ``undone``: how many changes were undone, last by the action ``undone_by``; ``is_undoing``: an undo goes on.
    ``undoes``: the action that this one undid. ``undo_until``: None: nothing of it can be undone (any longer).
    """

    id: int
    at: datetime
    actor: str
    role: str
    source: str
    action: str
    about: dict[str, object]
    before: dict[str, object] | None
    after: dict[str, object] | None
    changed: int
    seen: int
    refused: dict[str, int]
    ended: bool
    undoes: int | None
    undone: int
    undone_by: int | None
    undo_until: datetime | None
    slices: int
    stopped: str | None
    is_undoing: bool


def act(
    action: JobAction,
    job_ids: Collection[int],
    who: Who,
    *,
    changes: Mapping[str, object] | None = None,
    states: Sequence[str] | None = None,
    forget: bool = False,
    operation: int | None = None,
) -> Statement[list[ActedJob]]:
    """Does one action with at most 1000 jobs, and writes its audit row.

    ``changes``: of an edit (functions/edit.sql). ``states``: only jobs in these states. ``forget``: erase for good. ``operation``: an id of
    ``begin_operation``.
    """
    given = {
        "forget": forget or None, "changes": changes, "states": states, "operation": operation,
        "about": None if operation is None else {},
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    return statement(
        "act", each(ActedJob), action=action, job_ids=array(job_ids), options=json.dumps(options), who=who.as_json()
    )  # fmt: skip


def undo(audit_id: int, who: Who, operation: int | None = None) -> Statement[list[ActedJob]]:
    """Undoes one row of pgqueue.audit (see ``list_undoable``). ``operation``: an id of ``begin_operation``, if there are more rows."""
    return statement("undo", each(ActedJob), audit_id=audit_id, who=who.as_json(), operation=operation)


def choose_jobs(which: JobFilter, *, before: int | None, count: int) -> Statement[list[ChosenJob]]:
    return statement("choose_jobs", each(ChosenJob), **which.parameters(), before=before, count=count)


def choose_by_id(job_ids: Collection[int]) -> Statement[list[ChosenJob]]:
    return statement("choose_by_id", each(ChosenJob), job_ids=array(job_ids))


def preview_action(
    action: JobAction, which: JobFilter, job_ids: Collection[int] | None = None, most: int = PREVIEWED + 1
) -> Statement[list[Previewed]]:
    """Counts what the action would do, of at most ``most`` jobs."""
    return statement(
        "preview_action", each(Previewed), action=action, **which.parameters(), job_ids=maybe_array(job_ids), most=most
    )  # fmt: skip


def begin_operation(
    action: JobAction | Literal["undo"],
    about: Mapping[str, object],
    after: Mapping[str, object] | None,
    who: Who,
) -> Statement[int]:
    """Writes the audit row of an action with several slices. Returns its id."""
    return statement(
        "begin_operation",
        one,
        action=action,
        about=json.dumps(about),
        after=None if after is None else json.dumps(after),
        who=who.as_json(),
    )


def end_operation(operation: int, who: Who, why: str | None = None) -> Statement[int]:
    """Writes that an operation has ended. ``why``: why it stopped before its end."""
    return statement("end_operation", one, operation=operation, who=who.as_json(), why=why)


def list_audit(
    *,
    audit_id: int | None = None,
    job_id: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    source: str | None = None,
    before: int | None = None,
    count: int = 50,
) -> Statement[list[AuditRow]]:
    """Lists actions that fit every parameter that is not None, the newest first."""
    return statement(
        "list_audit", lambda rows: [_audit_row(row) for row in rows], audit_id=audit_id, job_id=job_id, actor=actor,
        action=action, source=source, before=before, count=count,
    )  # fmt: skip


def _audit_row(row: Row) -> AuditRow:
    values = list(row)
    values[6:9] = map(plain, row[6:9])
    values[11] = plain(row[11]) or {}
    return AuditRow(*values)


def list_undoable(audit_id: int) -> Statement[list[int]]:
    """Returns the ids that ``undo`` takes, of an action and its slices, the newest first."""
    return statement("list_undoable", column, audit_id=audit_id)


def list_audited_jobs(
    audit_id: int, *, after: int = 0, count: int = 200
) -> Statement[list[tuple[int, str | None]]]:
    """Returns (job's id, why it was refused; None: it was changed)."""
    return statement(
        "list_audited_jobs", lambda rows: [(row[0], row[1]) for row in rows], audit_id=audit_id, after=after, count=count
    )  # fmt: skip


def purge_audit(keep: float, count: int) -> Statement[tuple[int, int]]:
    """Deletes what undos no longer need, and actions older than ``keep`` seconds. Returns how many rows of each kind."""
    return statement("purge_audit", lambda rows: (rows[0][0], rows[0][1]), keep=keep, count=count)


def note_import(job_ids: Collection[int], seen: int, who: Who) -> Statement[int]:
    """Writes that these jobs were imported, of ``seen`` ones."""
    return statement("note_import", one, job_ids=array(job_ids), seen=seen, who=who.as_json())
