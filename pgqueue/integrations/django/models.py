"""Models that read pgqueue's tables: ``Job.objects.filter(state="dead")``. Their fields come from ``pgqueue.schema``.

They cannot be written, because only the SQL API keeps the tables consistent. The methods of the app and of its handles change jobs.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from django.contrib.postgres.fields import ArrayField
from django.db import models
from sqlalchemy.dialects.postgresql import JSONB

from pgqueue import schema
from pgqueue.errors import InvalidOptionError
from pgqueue.schema.base import Transaction

FIELDS: tuple[tuple[type[Any], type[models.Field]], ...] = (
    (sqlalchemy.SmallInteger, models.SmallIntegerField),
    (sqlalchemy.BigInteger, models.BigIntegerField),
    (sqlalchemy.Integer, models.IntegerField),
    (sqlalchemy.Boolean, models.BooleanField),
    (sqlalchemy.DateTime, models.DateTimeField),
    (sqlalchemy.Interval, models.DurationField),
    (JSONB, models.JSONField),
    (sqlalchemy.Double, models.FloatField),
    (sqlalchemy.Float, models.FloatField),
    (Transaction, models.TextField),
    (sqlalchemy.Text, models.TextField),
)


class Array(ArrayField):
    """An array that is only read, for which ``django.contrib.postgres`` need not be in INSTALLED_APPS."""

    def check(self, **options: Any) -> list[Any]:
        return [said for said in super().check(**options) if said.id != "postgres.E005"]


class ReadOnlyQuerySet(models.QuerySet):
    def _refuse(self, *_: object, **__: object) -> Any:
        raise refused(self.model)

    create = bulk_create = bulk_update = update = delete = update_or_create = get_or_create = _refuse
    acreate = abulk_create = abulk_update = aupdate = adelete = aupdate_or_create = aget_or_create = _refuse


class ReadOnly(models.Model):
    objects = ReadOnlyQuerySet.as_manager()

    class Meta:  # noqa: D106
        abstract = True

    def save(self, *_: object, **__: object) -> None:
        raise refused(type(self))

    def delete(self, *_: object, **__: object) -> Any:
        raise refused(type(self))


def refused(model: Any) -> InvalidOptionError:
    return InvalidOptionError(
        f"The model {model.__name__} only reads.",
        why="a plain write would leave the queue inconsistent",
        do="use the methods of the app, of its handles, or the actions of the admin",
    )


def field_of(column: Any, *, is_key: bool) -> models.Field:
    """Returns the field of a column."""
    options: dict[str, Any] = {"null": column.nullable, "blank": True}
    if is_key:
        options = {"primary_key": True}
    if isinstance(column.type, sqlalchemy.ARRAY):
        inner = _field_type(column.type.item_type)()
        return Array(inner, **options)
    return _field_type(column.type)(**options)


def _field_type(kind: Any) -> type[models.Field]:
    return next(field for base, field in FIELDS if isinstance(kind, base))


def _read(name: str, table: sqlalchemy.Table, *, order: str = "-id", text: str = "{name} {0.id}") -> Any:
    """Returns a model of a table that has an id. ``text``: how an object is shown."""
    attributes: dict[str, Any] = {one.name: field_of(one, is_key=one.name == "id") for one in table.columns}

    def shown(self: Any) -> str:
        return text.format(self, name=name)

    meta: dict[str, Any] = {
        "managed": False,
        "app_label": "pgqueue",
        "db_table": f'pgqueue"."{table.name}',  # Django quotes it as a whole: "pgqueue"."jobs"
        "ordering": [order],
        "verbose_name": name.lower(),
        "verbose_name_plural": f"{name.lower()}s",
    }
    attributes |= {
        "__module__": __name__,
        "__qualname__": name,
        "__str__": shown,
        "__doc__": f"A row of the table pgqueue.{table.name}.",
        "Meta": type("Meta", (), meta),
    }
    return type(name, (ReadOnly,), attributes)


Job = _read("Job", schema.jobs)
Queue = _read("Queue", schema.queues, order="name", text="{0.name}")
Worker = _read("Worker", schema.workers)
Schedule = _read("Schedule", schema.schedules, order="name", text="{0.name}")
Workflow = _read("Workflow", schema.workflows)
Limit = _read("Limit", schema.limits)
Alert = _read("Alert", schema.alerts)
Action = _read("Action", schema.audit)
