"""Versions: of an app, and of the code of a task. A job keeps the version under which its first checkpoint was stored.

Only a worker whose task accepts that version claims the job again. So a deploy of code that does not understand the checkpoints of earlier
code does not break jobs that are under way. Temporal pins workflows to versions of workers in a similar way. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from pgqueue.errors import InvalidOptionError
from pgqueue.text.values import is_storable, shown

LARGEST = 32_767  # the largest version of a task, because the column is a smallint
APP_VERSION_LIMIT = 255  # bytes


class Versioned(Protocol):
    """A task, as far as its versions matter."""

    @property
    def name(self) -> str: ...

    @property
    def accepts(self) -> tuple[int, ...]: ...


def check_app_version(version: object) -> str | None:
    """Returns the version of an app. Raises InvalidOptionError if it is neither None nor a text that can be stored."""
    if version is None:
        return None
    if not isinstance(version, str) or not 1 <= len(version.encode(errors="replace")) <= APP_VERSION_LIMIT:
        raise InvalidOptionError(
            f"The version of the app is {shown(version)}.",
            do=f'give a text of 1 to {APP_VERSION_LIMIT} bytes, such as App(version="2026.11.30")',
        )
    if not is_storable(version):
        raise InvalidOptionError(
            "The version of the app contains a character that PostgreSQL cannot store.",
            do="leave this character out",
        )
    return version


def check_versions(version: object, accepts: object) -> tuple[int | None, tuple[int, ...]]:
    """Returns the version of a task and all versions that it accepts, in ascending order: by default, its own version alone.

    Raises InvalidOptionError.
    """
    if version is None:
        if accepts is not None:
            raise InvalidOptionError(
                "accepts is given without version.",
                do="give the version of the task, too: version=4, accepts=(3, 4)",
            )
        return None, ()
    own = _checked("version", version)
    if accepts is None:
        return own, (own,)
    if isinstance(accepts, str | bytes) or not isinstance(accepts, Iterable):
        raise InvalidOptionError(
            f"accepts is {shown(accepts)}.", do="give the versions that the task accepts: accepts=(3, 4)"
        )
    accepted = sorted({_checked("accepts", one) for one in accepts})
    if own not in accepted:
        raise InvalidOptionError(
            f"accepts is {shown(accepts)}, which leaves out version {own} of the task itself.",
            why="no worker could go on with the jobs that this version begins",
            do=f"add it: accepts=({', '.join(map(str, [*accepted, own]))})",
        )
    return own, tuple(accepted)


def _checked(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        what = f"version is {shown(value)}" if option == "version" else f"accepts contains {shown(value)}"
        raise InvalidOptionError(f"{what}.", do=f"give a whole number from 1 to {LARGEST:,}")
    return value


class Versions(NamedTuple):
    """What the row of a worker says about versions. ``app``: the version of its app. ``accepted``: the versions that its tasks accept.

    An accepted version has the form ``task@version``, in which claims compare it. No task has such a name, because names of tasks contain no
    ``@``.
    """

    app: str | None = None
    accepted: tuple[str, ...] = ()

    @classmethod
    def of(cls, app: str | None, tasks: Iterable[Versioned]) -> Versions:
        accepted = (f"{task.name}@{version}" for task in tasks for version in task.accepts)
        return cls(app, tuple(sorted(accepted)))


UNVERSIONED = Versions()
