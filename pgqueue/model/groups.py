"""Says which error of an exception group decides the outcome of an attempt. ``asyncio.TaskGroup`` raises groups. This module does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

MOST_ERRORS = (
    1_000  # this many errors of a group are looked at, because a user's retry policy is asked about each
)
EXCEPTIONS: Any = BaseExceptionGroup.__dict__[
    "exceptions"
]  # finds the real errors, even if a user's class redefines ``exceptions``


def deciding(error: BaseException, is_decisive: Callable[[BaseException], bool]) -> BaseException:
    """Returns the error that decides: ``error`` itself, or one of the errors in it if it is a group, or in the groups of this group.

    In a group, the first error for which ``is_decisive`` returns True decides, otherwise the first error. An error that is no ``Exception``,
    such as Suspended, counts only if the group has no ``Exception``.
    """
    if not issubclass(type(error), BaseExceptionGroup):
        return error
    found = list(islice(_leaves(error), MOST_ERRORS))
    errors = [one for one in found if issubclass(type(one), Exception)] or found
    return next((one for one in errors if is_decisive(one)), errors[0])


def _leaves(group: BaseException) -> Iterator[BaseException]:
    """Yields the errors in a group and in its groups, in their order. It is no recursion, because groups can be nested deeply."""
    left = [group]
    while left:
        error = left.pop()
        if issubclass(type(error), BaseExceptionGroup):
            left.extend(reversed(EXCEPTIONS.__get__(error)))
        else:
            yield error
