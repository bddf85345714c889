"""The settings of pgqueue in a Django project: ``PGQUEUE = {"DATABASE": "default", "APP": "shop.jobs:app"}``, of which each can be left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, router
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from pgqueue.errors import InvalidSettingError
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

# Each setting, and what it says.
KEYS: Mapping[str, str] = {
    "APP": "the App of the project, as module:attribute",
    "DATABASE": "the alias of the database that has pgqueue's tables",
    "IMPORTS": "further modules that declare tasks",
    "NAME": "the service that owns the schedules",
}
PROJECT = "pgqueue.integrations.django.project:app"
WORKER = "pgqueue.integrations.django.worker:app"  # what `pgq work -A` loads in a Django project


def given() -> Mapping[str, Any]:
    """Returns the setting PGQUEUE. Raises InvalidSettingError if it is no dict, or if it has an unknown key or a value of a wrong type."""
    found = getattr(settings, "PGQUEUE", None) or {}
    if not isinstance(found, Mapping):
        raise InvalidSettingError(
            f"The setting PGQUEUE is {shown(found)}.", do='write a dict: PGQUEUE = {"DATABASE": "default"}'
        )
    for name, value in found.items():
        if name not in KEYS:
            raise InvalidSettingError(
                f"The setting PGQUEUE has no key {shown(name)}.", do=rather(str(name), list(KEYS))
            )
        if name == "IMPORTS":
            if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
                raise InvalidSettingError(
                    f'PGQUEUE["IMPORTS"] is {shown(value)}.', do='give a list of modules: ["shop.jobs"]'
                )
        elif not isinstance(value, str) or not value:
            raise InvalidSettingError(f'PGQUEUE["{name}"] is {shown(value)}.', do=f"give {KEYS[name]}")
    return found


def alias() -> str:
    """Returns the alias of the database that has pgqueue's tables: that of the settings, or the one to which the routers send its models."""
    if (named := given().get("DATABASE")) is not None:
        return str(named)
    from django.apps import apps  # noqa: PLC0415

    if not apps.is_installed("pgqueue.integrations.django"):
        return str(DEFAULT_DB_ALIAS)
    return str(router.db_for_write(apps.get_model("pgqueue", "Job")))


def service() -> str:
    """Returns the name of the service that owns the schedules. By default, it is the name of the package of the settings."""
    module = str(getattr(settings, "SETTINGS_MODULE", None) or "django")
    return str(given().get("NAME") or module.split(".", maxsplit=1)[0])


def app_path() -> str:
    return str(given().get("APP") or PROJECT)


def connection() -> Any:
    """Returns this thread's connection to the database of the queue. Raises InvalidSettingError if no database has its alias."""
    name = alias()
    if name not in connections.settings:
        raise InvalidSettingError(
            f"pgqueue's database is {shown(name)}, which DATABASES does not have.",
            do=rather(name, list(connections.settings)),
        )
    return connections[name]


def dsn() -> str:
    """Returns the DSN of the queue's database, from DATABASES. In a test, it is the DSN of the test database.

    Raises InvalidSettingError if that database is not PostgreSQL.
    """
    wrapper = connection()
    if wrapper.vendor != "postgresql":
        raise InvalidSettingError(
            f"pgqueue's database {wrapper.alias!r} is {wrapper.display_name}, and not PostgreSQL.",
            do="""name a PostgreSQL database: PGQUEUE = {"DATABASE": "…"}""",
        )
    known = {one.keyword.decode() for one in Conninfo.get_defaults()}
    parameters = wrapper.get_connection_params()
    options = wrapper.settings_dict["OPTIONS"]
    parts = {name: value for name, value in parameters.items() if name in known and value not in (None, "")}
    parts.pop("client_encoding", None)  # pgqueue sets it itself
    if role := options.get("assume_role"):
        escaped = str(role).replace("\\", "\\\\").replace(" ", "\\ ")
        parts["options"] = f"{parts.get('options', '')} -c role={escaped}".strip()
    return make_conninfo("", **parts)
