"""What the migrations of this app do: they run pgqueue's own migrations (Alembic), and tell Django the models as they are now.

A new revision of the schema needs a new migration with these two operations. A test compares the last one with the newest revision.
"""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState

from pgqueue.database import migrate
from pgqueue.integrations.django import conf

LABEL = "pgqueue"


class UpgradeSchema(Operation):
    """Upgrades the schema to the newest revision that this version of pgqueue has. ``revision``: at least this one.

    It uses a connection of its own to the same database, because it waits for locks and tries again, which needs transactions of its
    own. It does nothing in other databases than the queue's.
    """

    reduces_to_sql = True
    reversible = False

    def __init__(self, revision: str) -> None:
        self.revision = revision

    def state_forwards(self, app_label: str, state: Any) -> None: ...

    def database_forwards(self, _label: str, schema_editor: Any, _before: Any, _after: Any) -> None:
        alias = schema_editor.connection.alias
        if alias != conf.alias() or not router.allow_migrate(alias, LABEL):
            return
        if schema_editor.collect_sql:
            schema_editor.collected_sql.append(migrate.upgrade_sql())
            return
        migrate.upgrade(conf.dsn())

    def database_backwards(self, *_: object) -> None:
        raise NotImplementedError

    def describe(self) -> str:
        return f"Upgrades pgqueue's schema to {self.revision} or later"


class CurrentModels(Operation):
    """Replaces the models of the state by those of the code, so that ``makemigrations`` finds no change. They are not managed."""

    reduces_to_sql = False
    reversible = True

    def state_forwards(self, app_label: str, state: Any) -> None:
        from django.apps import apps  # noqa: PLC0415

        for name in [name for label, name in state.models if label == app_label]:
            state.remove_model(app_label, name)
        for model in apps.get_app_config(app_label).get_models():
            state.add_model(ModelState.from_model(model, exclude_rels=True))

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None: ...
    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None: ...

    def describe(self) -> str:
        return "The models that read pgqueue's tables"
