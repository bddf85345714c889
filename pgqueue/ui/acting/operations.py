"""One action on any number of jobs: in slices, each a transaction with its own audit row, so that no job holds up the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import psycopg

from pgqueue.database import statements
from pgqueue.database.driver_errors import explain
from pgqueue.database.outage import is_lost, one_line
from pgqueue.database.statements import JobFilter, Who
from pgqueue.database.statements.actions import BY_DEFAULT, ActedJob, ChosenJob, JobAction
from pgqueue.errors import InvalidOptionError, MissingPrivilegeError, PgQueueError
from pgqueue.model.refusal import REFUSED
from pgqueue.sql import Statement

SLICE = 500  # jobs in one transaction
TRIED_ALONE = (
    3  # if this many jobs fail alone, and no job of the action has succeeded, the action itself is wrong
)
# What an action on a job can answer if it has changed the job.
DONE = frozenset({"revived", "cancelled", "requested", "edited", "due", "deleted"})


class Changed(NamedTuple):
    """What an action did with one job, or would do. ``result``: a word of sql/actions/functions/act.sql, or ``refused: …`` with the error.

    ``task`` and ``state`` are those of the job before the action; None if there is no such job.
    """

    id: int
    task: str | None
    state: str | None
    result: str

    @property
    def is_done(self) -> bool:
        return self.result in DONE and self.result != self.state

    @property
    def can_be_undone(self) -> bool:
        """A running job that was only asked to stop cannot be brought back (note_slice.sql)."""
        return self.is_done and self.result != "requested"


@dataclass(slots=True)
class Progress:
    """How far an action has come. ``refused``: the number of jobs for each reason.

    ``audit_id``: the row of pgqueue.audit by which the whole action can be read and undone; None as long as nothing was written.
    """

    audit_id: int | None = None
    seen: int = 0
    changed: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What to do with which jobs: those with ``ids``, or those that match ``which``, at most ``limit`` of them.

    ``changes``: those of an edit, as ``pgqueue.edit`` takes them. ``forget``: a delete that cannot be undone, and that also erases what
    earlier actions have kept of the job.
    """

    name: JobAction
    who: Who
    ids: Sequence[int] | None = None
    which: JobFilter = field(default_factory=JobFilter)
    limit: int = 1_000_000
    changes: Mapping[str, object] | None = None
    forget: bool = False

    def filter(self) -> JobFilter:
        """Returns the filter, with the states that the action looks for."""
        if self.ids is not None or self.which.states is not None:
            return self.which
        return replace(self.which, states=list(BY_DEFAULT[self.name]))

    def about(self) -> dict[str, object]:
        if self.ids is not None:
            return {"ids": len(self.ids)}
        chosen = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self.filter()).items()
            if value is not None
        }
        if "args" in chosen:  # values of arguments can be secret
            chosen["args"] = "given"
        return {**chosen, "limit": self.limit}

    def noted_changes(self) -> dict[str, object] | None:
        """Returns the changes as the audit shows them: without the values of args and meta, which can be secrets."""
        if self.forget:
            return {"forget": True}
        if self.changes is None:
            return None
        return {
            name: "changed" if name in ("args", "meta") else value for name, value in self.changes.items()
        }


class Operation:
    """The steps of one action, without I/O: ``next_statement`` returns what to send, ``took`` gets the answer, or ``failed`` the error.

    A slice that fails is sent again in halves, so that in the end each failing job is alone. Every statement is a transaction of its own.
    ``open_row``: its row in the audit, as long as no other row says that it has ended.
    """

    def __init__(self, action: Action, *, dry_run: bool = False) -> None:
        self.action, self.dry_run = action, dry_run
        self.progress = Progress()
        self._ids = list(dict.fromkeys(action.ids)) if action.ids is not None else None
        self._left = action.limit
        self._before: int | None = None
        self._chosen: dict[int, ChosenJob] = {}
        self._slices: list[list[int]] = []
        self._sent: list[int] = []
        self._asked: list[int] = []
        self._step: Callable[[object], list[Changed]] = self._begun
        self._has_chosen_all = False
        self._failed_alone = 0
        self._is_operation = self._ids is None or len(self._ids) > SLICE
        self.open_row: int | None = None

    @property
    def who(self) -> Who:
        return self.action.who

    # -------------------------------------------------------------- what to send

    def next_statement(self) -> Statement[object] | None:
        """Returns the next statement; None: the action has ended."""
        if self._is_operation and self.progress.audit_id is None and not self.dry_run:
            self._step = self._begun
            action = self.action
            return statements.begin_operation(action.name, action.about(), action.noted_changes(), action.who)
        if self._slices:
            self._step = self._acted
            self._sent = self._slices.pop()
            return self._act(self._sent)
        if not self._has_chosen_all:
            self._step = self._selected
            return self._choose()
        if self.progress.ended:
            return None
        self.progress.ended = True
        if not self._is_operation or self.progress.audit_id is None:
            return None
        self._step = self._ended
        return statements.end_operation(self.progress.audit_id, self.action.who)

    def _act(self, ids: Sequence[int]) -> Statement[list[ActedJob]]:
        action = self.action
        return statements.act(
            action.name, ids, action.who, changes=action.changes, states=action.filter().states, forget=action.forget,
            operation=self.progress.audit_id,
        )  # fmt: skip

    def _choose(self) -> Statement[list[ChosenJob]]:
        if self._ids is not None:
            self._asked, self._ids = self._ids[:SLICE], self._ids[SLICE:]
            self._has_chosen_all = not self._ids
            return statements.choose_by_id(self._asked)
        count = min(SLICE, self._left)
        return statements.choose_jobs(self.action.filter(), before=self._before, count=count)

    # -------------------------------------------------------------- what came back

    def took(self, answer: object) -> list[Changed]:
        """Takes the answer of the last statement. Returns what was done with jobs, if the statement was an action."""
        return self._step(answer)

    def _begun(self, answer: object) -> list[Changed]:
        assert isinstance(answer, int)
        self.progress.audit_id = self.open_row = answer
        return []

    def _ended(self, _answer: object) -> list[Changed]:
        self.open_row = None
        return []

    def _selected(self, answer: object) -> list[Changed]:
        assert isinstance(answer, list)
        self._chosen = {job.id: job for job in answer}
        if self._ids is None and self.action.ids is None:
            self._left -= len(answer)
            self._has_chosen_all = len(answer) < SLICE or self._left <= 0
            self._before = answer[-1].id if answer else None
            self._asked = [job.id for job in answer]
        missing = [job_id for job_id in self._asked if job_id not in self._chosen]
        if self._chosen:
            self._slices.append([job_id for job_id in self._asked if job_id in self._chosen])
        return self._count([Changed(job_id, None, None, "not found") for job_id in missing])

    def _acted(self, answer: object) -> list[Changed]:
        assert isinstance(answer, list)
        alone: list[int] = []
        found: list[Changed] = []
        for audit_id, job_id, result in answer:
            if result == "alone":
                alone.append(job_id)
                continue
            if self.progress.audit_id is None and not self.dry_run:
                self.progress.audit_id = audit_id
            found.append(self._changed(job_id, result))
        self._slices += [[job_id] for job_id in reversed(alone)]
        return self._count(found)

    def failed(self, error: Exception) -> list[Changed]:
        """Takes the error of the last statement. Raises the error, if it is not the fault of single jobs."""
        if self._step != self._acted or is_lost(error) or isinstance(explained(error), MissingPrivilegeError):
            raise error
        if len(self._sent) > 1:
            self._is_operation = self._is_operation or self.progress.audit_id is None
            half = len(self._sent) // 2
            self._slices += [self._sent[half:], self._sent[:half]]
            if (
                not self.progress.changed and not self._failed_alone
            ):  # find out soon whether it is the action that is wrong
                self._slices.append([self._slices[-1].pop(0)])
                self._slices = [ids for ids in self._slices if ids]
            return []
        self._failed_alone += 1
        if not self.progress.changed and self._failed_alone == TRIED_ALONE:
            raise error
        return self._count([self._changed(self._sent[0], _word(error))])

    def _changed(self, job_id: int, result: str) -> Changed:
        job = self._chosen.get(job_id)
        return Changed(job_id, job and job.task, job and job.state, result)

    def _count(self, found: list[Changed]) -> list[Changed]:
        for one in found:
            self.progress.seen += 1
            if one.is_done:
                self.progress.changed += 1
            else:
                word = one.result.partition(":")[0]
                self.progress.refused[word] = self.progress.refused.get(word, 0) + 1
        return found


def explained(error: Exception) -> Exception:
    return explain(error) or error if isinstance(error, psycopg.Error) else error


def _word(error: Exception) -> str:
    """Returns the result of a job whose action failed with this error."""
    cause = error.__cause__ if isinstance(error, PgQueueError) and error.__cause__ else error
    if getattr(cause, "sqlstate", None) in ("55P03", "40P01"):  # a lock is not free, or a deadlock
        return "locked"
    known = explained(error)
    if isinstance(known, InvalidOptionError):
        return f"{REFUSED}: {known.refusal}"
    return f"{REFUSED}: {one_line(cause.diag.message_primary or known if isinstance(cause, psycopg.Error) else known)}"


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do. ``counts``: for each state, how many jobs it would change. ``refused``: how many not, by the reason.

    ``more``: there are more jobs than were looked at, so the true numbers can be larger.
    """

    counts: dict[str, int]
    refused: dict[str, int]
    more: bool

    @property
    def changes(self) -> int:
        return sum(self.counts.values())


def preview_statement(action: Action) -> Statement[Preview]:
    """Returns the statement that counts what the action would do, exactly up to 10,000 jobs (or up to its ``limit``)."""
    most = min(statements.actions.PREVIEWED, action.limit)
    made = statements.preview_action(action.name, action.filter(), action.ids, most + (most < action.limit))

    def decode(rows: Sequence[Sequence[object]]) -> Preview:
        counts: dict[str, int] = {}
        refused: dict[str, int] = {}
        for state, why, jobs in made.decode(rows):
            into, word = (counts, state) if why is None else (refused, why)
            into[word] = into.get(word, 0) + jobs
        return Preview(counts, refused, sum(counts.values()) + sum(refused.values()) > most)

    return Statement(made.name, made.text, made.parameters, decode)
