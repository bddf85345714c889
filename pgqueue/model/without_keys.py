"""The options of a job that belongs to a workflow or a batch. It has no key of its own, because the workflow or the batch has one.

This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from pgqueue.model.unique import KEY_RULES

# check_workflow.sql and check_members.sql allow the same options.
NODE_OPTIONS = frozenset(
    {"queue", "priority", "run_at", "delay", "max_attempts", "timeout", "concurrency_key", "weight", "ordering", "tags", "meta",
     "expires", "deadline", "trace_context"}
)  # fmt: skip
MEMBER_OPTIONS = NODE_OPTIONS | {"wake"}

Options = Mapping[str, Any]
Declared = Callable[[str], Mapping[str, object]]  # returns the options about duplicates that a task declares


def without_keys(
    options: Options, rules: Mapping[str, object], allowed: Container[str]
) -> tuple[Options, list[str]]:
    """Returns the allowed options, and the names of the options that must be refused.

    ``rules``: the options about duplicates that the task declares for all its jobs. They do not count here, and are left out. An option
    about duplicates that the job itself was given is refused.
    """
    refused = [
        option
        for option, value in options.items()
        if option not in allowed
        and not (option in KEY_RULES and (rules.get(option) == value or value is False))
    ]
    return {option: value for option, value in options.items() if option in allowed}, refused
