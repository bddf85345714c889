"""Alembic's entry: runs the revisions, then installs the SQL API of `pgqueue/sql/functions/` and the views of `views/`.

Functions and views are replaced as a whole at every upgrade instead of being copied into revisions, so each has one text,
in one file. Migrations of several hosts at once wait for each other on an advisory lock.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from pgqueue.config import sqlalchemy_url
from pgqueue.sql import functions, views

LOCK = 7_467_178_351  # any constant: only migrations of pgqueue take it

PREPARE = (
    "create schema if not exists pgqueue",
    "set local lock_timeout = '5s'",
    "set local search_path = pg_catalog, pg_temp",
    "set local check_function_bodies = off",  # functions may name each other, in any order
)


def as_text(statement: str) -> str:
    return statement.replace(":", "\\:")


def configure(**options: object) -> None:
    context.configure(
        version_table="schema_version",
        version_table_schema="pgqueue",
        transaction_per_migration=False,
        **options,
    )


def run() -> None:
    with context.begin_transaction():
        context.execute(f"select pg_advisory_xact_lock({LOCK})")
        for statement in PREPARE:
            context.execute(statement)
        context.run_migrations()
        if context.get_revision_argument() == context.get_head_revision():
            for statement in (*functions().values(), *views().values()):
                context.execute(text(as_text(statement)))


if context.is_offline_mode():
    configure(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"})
    run()
else:
    dsn = context.config.attributes["dsn"]
    engine = create_engine(sqlalchemy_url(dsn), poolclass=pool.NullPool)
    with engine.connect() as connection:
        configure(connection=connection)
        run()
        connection.commit()
