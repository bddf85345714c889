"""pgqueue's schema under your own Alembic: ``alembic upgrade heads`` upgrades both, and autogenerate leaves pgqueue's tables alone.

Your ``alembic.ini`` names the folder of pgqueue's revisions (``pgqueue.integrations:alembic_versions``), which has one revision for each
release and the branch label ``pgqueue``. Such a revision runs those of pgqueue's own revisions that the database lacks. The table
``pgqueue.schema_version`` says which these are, so ``pgq migrate`` and Alembic can both be used on one database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from alembic import op
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from pgqueue.database.driver_errors import answer_of, explain
from pgqueue.database.installing import preparation, sql_api
from pgqueue.database.migrate import HEAD, config

SCHEMA = "pgqueue"
# The settings that ``preparation`` changes. Revisions of yours can follow in the same transaction.
SETTINGS = ("search_path", "lock_timeout", "check_function_bodies")
VERSION_TABLE = (
    "create table if not exists pgqueue.schema_version"
    " (version_num varchar(32) not null, constraint schema_version_pkc primary key (version_num))"
)


def locations() -> list[str]:
    """Returns the folder of pgqueue's revisions, for ``version_locations`` of a configuration that Python makes."""
    return [str(Path(__file__).parent / "alembic_versions")]


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Tells autogenerate to read nothing of pgqueue's schema: ``context.configure(include_name=include_name, …)``."""
    return name != SCHEMA if type_ == "schema" else parent_names.get("schema_name") != SCHEMA


def include_object(
    object_: Any, _name: str | None, type_: str, _reflected: bool, _compare_to: object
) -> bool:
    """Tells autogenerate to leave out pgqueue's tables if your metadata contains them: ``context.configure(include_object=…)``."""
    table = object_ if type_ == "table" else getattr(object_, "table", None)
    return getattr(table, "schema", None) != SCHEMA


def upgrade_schema(since: str | None, until: str) -> None:
    """Upgrades pgqueue's schema to its revision ``until``, in the transaction of Alembic's revision. Called by pgqueue's revisions.

    ``since``: the revision to begin with if only SQL is printed (``--sql``); a database says itself which revision it has. Does nothing
    if the database has ``until`` or a later one. Raises CommandError, which Alembic prints as one sentence.
    """
    is_printed = op.get_context().as_sql
    if is_printed:
        _check_printing()
    else:
        _check_transaction()
    with _explained(), _settings_kept():
        for statement in preparation():  # first, because it limits the waits for locks
            op.execute(text(statement))
        if not is_printed and (since := _installed()) is not None and since > HEAD:
            raise CommandError(
                f"The database has pgqueue's schema {since}, and this version of pgqueue knows {HEAD}:"
                " upgrade the package pgqueue-jobs here."
            )
        op.execute(text(VERSION_TABLE))
        for script in _missing(since, until):
            script.module.upgrade()
        if since is None or since < until:
            op.execute(text("delete from pgqueue.schema_version"))
            op.execute(text(f"insert into pgqueue.schema_version (version_num) values ('{until}')"))  # noqa: S608 - ours
        if until == HEAD:
            for statement in sql_api():
                op.execute(text(statement))


def refuse_downgrade() -> NoReturn:
    """Raises CommandError, because an older schema could not hold all that a newer one has stored."""
    raise CommandError(
        "pgqueue's schema is not taken back to an older one. To remove pgqueue with all jobs:"
        " drop schema pgqueue cascade; then: alembic stamp --purge with the heads of your own branches."
    )


def _missing(since: str | None, until: str) -> list[Any]:
    scripts = list(ScriptDirectory.from_config(config()).walk_revisions())[::-1]
    return [one for one in scripts if (since is None or one.revision > since) and one.revision <= until]


def _installed() -> str | None:
    connection = op.get_bind()
    if not connection.execute(text("select to_regclass('pgqueue.schema_version') is not null")).scalar():
        return None
    found = connection.execute(text("select max(version_num) from pgqueue.schema_version")).scalar()
    return None if found is None else str(found)


def _check_transaction() -> None:
    connection = op.get_bind()
    connection.execute(text("select set_config('pgqueue.in_transaction', 'yes', true)"))
    if connection.execute(text("select current_setting('pgqueue.in_transaction', true)")).scalar() != "yes":
        raise CommandError(
            "pgqueue's schema is upgraded in one transaction, but env.py gives Alembic a connection that commits each statement:"
            " use a connection without AUTOCOMMIT."
        )


def _check_printing() -> None:
    if op.get_context().dialect.paramstyle in ("format", "pyformat"):
        raise CommandError(
            'Printed SQL would have %% in place of %: give context.configure() in env.py dialect_opts={"paramstyle": "named"}.'
        )


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Gives the settings their former values at the end. They are kept in settings, too, so that this works in printed SQL."""
    for name in SETTINGS:
        op.execute(text(f"select set_config('pgqueue.former_{name}', current_setting('{name}'), true)"))
    yield
    for name in SETTINGS:
        op.execute(
            text(f"select pg_catalog.set_config('{name}', current_setting('pgqueue.former_{name}'), true)")
        )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        answer = answer_of(error)
        if answer is None:
            raise
        known = explain(error)
        said = f"{known.what} {known.why or ''}".strip() if known else str(answer.primary)
        raise CommandError(f"pgqueue's schema cannot be upgraded: {said} Nothing was changed.") from error
