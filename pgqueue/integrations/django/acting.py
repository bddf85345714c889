"""Does actions of the admin, on Django's connection: each statement is a transaction, or a savepoint if Django has a transaction already.

So the actions work with ATOMIC_REQUESTS and in tests. The audit has them under the name of Django's user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from django.db import Error as DjangoError
from django.db import transaction
from psycopg import Connection

from pgqueue.database.flows import drive
from pgqueue.database.joining import joined
from pgqueue.database.run import run
from pgqueue.database.statements import Who
from pgqueue.database.statements.actions import JobAction
from pgqueue.errors import PgQueueError
from pgqueue.integrations.django import conf
from pgqueue.model.refusal import reasons
from pgqueue.text.counted import count
from pgqueue.ui.acting.acts import ACTS
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.operations import Action, Operation
from pgqueue.ui.acting.performing import end_row

LONGEST_ACTOR = 255  # bytes


def actor_of(user: Any) -> Who:
    """Returns who acts, for the audit."""
    name = "".join(one if one.isprintable() else "?" for one in str(user.get_username()))
    return Who(name.encode()[:LONGEST_ACTOR].decode(errors="ignore") or f"user {user.pk}", "web")


def act_on_jobs(name: JobAction, ids: Sequence[int], who: Who) -> tuple[int, str]:
    """Acts on jobs. Returns how many were changed, and in words why the others were not. Raises PgQueueError or psycopg.Error."""
    operation = Operation(Action(name=name, who=who, ids=ids))
    refused: Counter[str] = Counter()
    try:
        while (statement := operation.next_statement()) is not None:
            try:
                answer: Any = _sent(statement)
            except (PgQueueError, psycopg.Error) as error:
                found = operation.failed(error)
            else:
                found = operation.took(answer)
            refused.update(one.result for one in found if not one.is_done)
    except BaseException as error:
        with suppress(Exception):
            inner = joined(conf.connection())
            if isinstance(inner, Connection):
                end_row(inner, operation, error)
        raise
    return operation.progress.changed, reasons(refused)


def act_on_settings(word: str, field: str, values: Sequence[object], who: Who) -> tuple[int, list[str]]:
    """Does an act that is not about jobs with each value. Returns how many succeeded, and what the others said."""
    does = ACTS[word].does
    assert does is not None
    done, failures = 0, list[str]()
    for value in values:
        try:
            with transaction.atomic(using=conf.alias()):
                drive(conf.connection(), does(Form({"action": [word], field: [str(value)]}), who))
        except (PgQueueError, psycopg.Error, DjangoError) as error:
            failures.append(f"{value}: {error.what if isinstance(error, PgQueueError) else error}")
        else:
            done += 1
    return done, failures


def said(done: int, noun: str, refused: str) -> str:
    """Returns what was done in one sentence or two."""
    return f"{count(done, noun)} changed." + (f" Not changed: {refused}." if refused else "")


def _sent(statement: Any) -> Any:
    with transaction.atomic(using=conf.alias()):
        return run(conf.connection(), statement)
