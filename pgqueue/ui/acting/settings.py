"""The flows of the actions that are not about single jobs: on queues, limits, schedules, workflows, batches and alerts.

Each returns the number of its row in the audit; None: it changed nothing, so it has no row. Raises a NotFoundError if there is nothing to
change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgqueue.database import statements
from pgqueue.database.flows import Flow
from pgqueue.database.statements import Who as Actor
from pgqueue.database.statements.batches import RETRIED_AT_ONCE, Retried
from pgqueue.database.statements.limits import Limit
from pgqueue.database.statements.noting import Noted, as_noted
from pgqueue.errors import (
    AlertNotFoundError,
    BatchNotFoundError,
    InvalidOptionError,
    LimitNotFoundError,
    NotFoundError,
    QueueNotFoundError,
    ScheduleNotFoundError,
    WorkflowNotFoundError,
)
from pgqueue.model.names import check_name
from pgqueue.model.units import LARGEST_WEIGHT
from pgqueue.sql import Statement
from pgqueue.text.values import shown
from pgqueue.ui.acting.form import Form

Setting = Callable[[Form, Actor], Flow[int | None]]


def change(makes: Callable[[Form, Actor], list[Statement[Any]]]) -> Setting:
    """Returns the flow of the statements that ``makes`` makes of a form."""

    def flow(form: Form, who: Actor) -> Flow[int | None]:
        done: list[Noted] = []
        for made in makes(form, who):
            noted: Noted = yield as_noted(made)
            done.append(noted)
        if not any(one.was_found for one in done):
            raise _missing(form)
        return next((one.audit_id for one in reversed(done) if one.audit_id is not None), None)

    return flow


def changed_limit(form: Form, who: Actor) -> Flow[int | None]:
    """Changes how much a limit allows."""
    limit_id = form.id("limit")
    limits: list[Limit] = yield statements.list_limits()
    limit = next((one for one in limits if one.id == limit_id), None)
    if limit is None:
        raise LimitNotFoundError(limit_id)
    done: Noted = yield as_noted(_set_limit(limit, form, who))
    return done.audit_id


def retried(batch: int, who: Actor) -> Flow[Retried]:
    """Runs all jobs of a batch again that are dead or cancelled, some members in each statement. Returns how many, and the last row of the audit."""
    jobs, after, audit_id = 0, 0, None
    while True:
        done: Retried = yield statements.retry_members(batch, after, RETRIED_AT_ONCE, who=who)
        if done.last is None:
            return Retried(jobs, None, audit_id)
        jobs, after, audit_id = jobs + done.jobs, done.last, done.audit_id or audit_id


def retry_of(form: Form, who: Actor) -> Flow[int | None]:
    """Runs the jobs of the form's batch again."""
    done = yield from retried(form.id("batch"), who)
    return done.audit_id


def _set_limit(limit: Limit, form: Form, who: Actor) -> Statement[int]:
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


def name_in(form: Form, noun: str) -> str:
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


def _missing(form: Form) -> NotFoundError:
    """Returns the error that the subject of the form does not exist."""
    do = "go back, and load the page again"
    if name := form.one("queue"):
        return QueueNotFoundError(f"There is no queue {name!r}.", do=do)
    if name := form.one("schedule"):
        return ScheduleNotFoundError(f"There is no schedule {name!r}.", do=do)
    for field, error in (
        ("limit", LimitNotFoundError),
        ("workflow", WorkflowNotFoundError),
        ("batch", BatchNotFoundError),
    ):
        if form.one(field):
            return error(form.id(field))
    return AlertNotFoundError(f"There is no alert {form.one('id')}.", do=do)
