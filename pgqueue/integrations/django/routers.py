"""A database router for projects with several databases. It keeps pgqueue's models at the database of the queue."""

from __future__ import annotations

from typing import Any

from pgqueue.integrations.django import conf

LABEL = "pgqueue"


class Router:
    """``DATABASE_ROUTERS = ["pgqueue.integrations.django.Router"]``, with ``PGQUEUE = {"DATABASE": alias}``."""

    def db_for_read(self, model: Any, **_: object) -> str | None:
        return conf.given().get("DATABASE") if model._meta.app_label == LABEL else None  # noqa: SLF001 - Django's public name

    def db_for_write(self, model: Any, **_: object) -> str | None:
        return self.db_for_read(model)

    def allow_migrate(self, db: str, app_label: str, **_: object) -> bool | None:
        return db == conf.alias() if app_label == LABEL else None
