"""The two packages that have the Tasks framework: ``django.tasks``, since Django 6, and its backport ``django_tasks``. Their names are the same."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from pgqueue.errors import PackageMissingError

PACKAGES = ("django.tasks", "django_tasks")


@dataclass(frozen=True)
class Framework:
    """The modules of one of the two packages. ``base`` has ``Task``, ``TaskResult`` and ``normalize_json``."""

    root: ModuleType
    base: ModuleType
    backends: ModuleType
    signals: ModuleType
    exceptions: ModuleType

    def is_task(self, value: object) -> bool:
        """Whether the value is a task. It looks at the real class: to ask a lazy object of Django for its class would make the object."""
        return issubclass(type(value), self.base.Task)

    def invalid(self, said: str) -> Exception:
        """Returns the error for a task that cannot be run. Before the release 0.12 of the backport, it had another name."""
        kind: Any = getattr(self.exceptions, "InvalidTaskError", None) or self.exceptions.InvalidTask
        error: Exception = kind(said)
        return error


@cache
def framework(package: str) -> Framework:
    """Returns the framework of a package, ``django.tasks`` or ``django_tasks``. Raises ImportError if it is not installed."""
    return Framework(
        import_module(package),
        *(import_module(f"{package}.{part}") for part in ("base", "backends.base", "signals", "exceptions")),
    )


def loaded() -> list[Framework]:
    """Returns the frameworks that this process has imported, Django's own first."""
    return [framework(package) for package in PACKAGES if package in sys.modules]


def preferred() -> Framework:
    """Returns Django's own framework, or else the backport. Raises PackageMissingError if there is neither."""
    for package in PACKAGES:
        with suppress(ImportError):
            return framework(package)
    raise PackageMissingError(
        "The Tasks framework cannot be used.",
        why="django.tasks came with Django 6.0, and its backport is not installed",
        do="pip install django-tasks",
    )
