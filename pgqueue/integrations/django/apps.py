"""The app that a project lists in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig


class PgqueueConfig(AppConfig):
    name = "pgqueue.integrations.django"
    label = "pgqueue"
    verbose_name = "Job queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from pgqueue.integrations.django import checks  # noqa: F401, PLC0415 - it registers the checks
