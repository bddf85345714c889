"""pgqueue in a Django project: an app for INSTALLED_APPS, the backend of the Tasks framework, and jobs in Django's own transactions.

``from pgqueue.integrations.django import app`` is the project's App. Its tasks are declared in the ``tasks`` modules of the
installed apps. ``docs/django.md`` is the guide. Nothing is imported here before it is used, because Django imports this package while it
loads the installed apps.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pgqueue.errors import PackageMissingError

try:
    import django  # noqa: F401
except ImportError as error:
    raise PackageMissingError(
        "Django cannot be used.",
        why=f"the package django is not installed ({error})",
        do="pip install 'pgqueue-jobs[django]'",
    ) from None

if TYPE_CHECKING:
    from pgqueue.integrations.django.application import DjangoApp
    from pgqueue.integrations.django.project import app
    from pgqueue.integrations.django.routers import Router

    Backend: Any
    BackportBackend: Any

__all__ = ["Backend", "BackportBackend", "DjangoApp", "Router", "app"]

HOMES = {
    "app": "project",
    "Backend": "tasks.backend",
    "BackportBackend": "tasks.backend",
    "DjangoApp": "application",
    "Router": "routers",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
