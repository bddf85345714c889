"""The rules for names of queues, tasks and schedules, and the names of the executors."""

from __future__ import annotations

import re

from pgqueue.errors import InvalidNameError
from pgqueue.text.values import shown

EXECUTORS = ("async", "thread", "process")  # where handlers run
QUEUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,62}", re.ASCII)
TASK_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,126}", re.ASCII)


def check_name(kind: str, name: object) -> str:
    """Returns ``name``. Raises InvalidNameError if it cannot be the name of a queue, a task or a schedule (``kind``)."""
    pattern = QUEUE_NAME if kind == "queue" else TASK_NAME
    if not isinstance(name, str) or not pattern.fullmatch(name):
        limit = 63 if kind == "queue" else 127
        raise InvalidNameError(
            f"{shown(name)} cannot name a {kind}.",
            do=f"use a letter or _ first, then letters, digits, '_', '.', ':' or '-', {limit} characters at most",
        )
    return name


def is_reserved(task: str) -> bool:
    """Whether the name is reserved for jobs of pgqueue: messages of alerts, and calls of hooks (as in functions/is_reserved.sql)."""
    return task.startswith("pgqueue.") or ":on_" in task


def check_free(name: object) -> str:
    """Returns ``name``. Raises InvalidNameError if a user's task must not have this name."""
    if is_reserved(checked := check_name("task", name)):
        raise InvalidNameError(
            f"{shown(name)} is a name that pgqueue keeps for itself.",
            do="use a name that does not begin with 'pgqueue.' and does not contain ':on_'",
        )
    return checked
