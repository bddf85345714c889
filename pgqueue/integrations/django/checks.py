"""What ``manage.py check`` says about pgqueue: above all, whether jobs commit in the database to which the project writes its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core import checks
from django.db import connections, router

from pgqueue.errors import PgQueueError
from pgqueue.integrations.django import conf
from pgqueue.integrations.django.discovery import named_app
from pgqueue.text.nearest import rather

TAG = "pgqueue"
LISTED = 5  # models that a message names


@checks.register(TAG)
def check_settings(**_: object) -> list[checks.CheckMessage]:
    try:
        conf.given()
        alias = conf.alias()
    except PgQueueError as error:
        return [_said(error, "E001")]
    if alias not in connections.settings:
        message = f"pgqueue's database is {alias!r}, which DATABASES does not have."
        return [checks.Error(message, hint=rather(alias, list(connections.settings)), id="pgqueue.E002")]
    return [*_of_connection(alias), *_of_routers(alias), *_of_app()]


def _of_connection(alias: str) -> Iterator[checks.CheckMessage]:
    """Yields what keeps pgqueue from using Django's connection. This opens no connection."""
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql":
        yield checks.Error(
            f"pgqueue's database {alias!r} is {wrapper.display_name}, and not PostgreSQL.",
            hint='Name a PostgreSQL database: PGQUEUE = {"DATABASE": "…"}.',
            id="pgqueue.E003",
        )
    elif wrapper.Database.__name__ != "psycopg":
        yield checks.Error(
            f"Django uses {wrapper.Database.__name__} for pgqueue's database {alias!r}, and pgqueue needs psycopg 3.",
            hint="pip install 'psycopg[binary]'; Django prefers it to psycopg2.",
            id="pgqueue.E003",
        )


def _of_routers(alias: str) -> Iterator[checks.CheckMessage]:
    """Yields where the routers separate jobs from the rows with which they should commit."""
    ours = apps.get_model("pgqueue", "Job")
    written = router.db_for_write(ours)
    if written != alias or not router.allow_migrate_model(alias, ours):
        yield checks.Error(
            f"pgqueue's database is {alias!r}, but DATABASE_ROUTERS sends its models to {written!r}"
            + ("." if written != alias else ", and does not let them migrate there."),
            hint='Put "pgqueue.integrations.django.Router" first in DATABASE_ROUTERS, or correct PGQUEUE["DATABASE"].',
            id="pgqueue.E004",
        )
    theirs = [model for model in apps.get_models() if model._meta.managed and _is_of_the_project(model)]  # noqa: SLF001
    elsewhere = [model for model in theirs if router.db_for_write(model) != alias]
    if not elsewhere:
        return
    names = ", ".join(model._meta.label for model in elsewhere[:LISTED])  # noqa: SLF001
    more = f" and {len(elsewhere) - LISTED} more" if len(elsewhere) > LISTED else ""
    if len(elsewhere) == len(theirs):
        yield checks.Error(
            f"No model of the project is written to {alias!r}, pgqueue's database.",
            hint="A job could never commit together with your rows. Keep pgqueue's tables in the database of your models.",
            id="pgqueue.E005",
        )
    else:
        yield checks.Warning(
            f"These models are not written to {alias!r}, pgqueue's database: {names}{more}.",
            hint="Jobs do not commit together with their rows. If no code relies on it, silence pgqueue.W001.",
            id="pgqueue.W001",
        )


def _is_of_the_project(model: Any) -> bool:
    return not model.__module__.startswith("django.")


def _of_app() -> Iterator[checks.CheckMessage]:
    try:
        named_app()
    except PgQueueError as error:
        yield _said(error, "E006")


def _said(error: PgQueueError, number: str) -> checks.CheckMessage:
    why = f" ({error.why})" if error.why else ""
    return checks.Error(f"{error.what}{why}", hint=error.do or None, id=f"pgqueue.{number}")
