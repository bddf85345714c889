"""Alembic's entry: runs the revisions, then installs the SQL API of `pgqueue/sql/functions/` and the views of `views/`.

Functions and views are replaced as a whole at every upgrade instead of being copied into revisions, so each has one text,
in one file. If several hosts migrate at the same time, they wait for each other by locking a table of pgqueue. A role that has no
rights on that table cannot lock it, so such a role cannot hold up a migration. If a lock is not free, `migrate.upgrade` tries again
for a while. After that, `migrate.upgrade` raises an error that lists the sessions that hold locks.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool, text

from pgqueue.database.installing import preparation, sql_api
from pgqueue.database.run import connect


def configure(**options: object) -> None:
    context.configure(
        version_table="schema_version",
        version_table_schema="pgqueue",
        transaction_per_migration=False,
        **options,
    )


def run() -> None:
    with context.begin_transaction():
        for statement in preparation():
            context.execute(text(statement))
        context.run_migrations()
        if context.get_revision_argument() == context.get_head_revision():
            for statement in sql_api():
                context.execute(text(statement))


def connected() -> Any:
    """Opens a session with pgqueue's search path, because SQLAlchemy and alembic read the catalog through the search path, too."""
    connection = connect(context.config.attributes["dsn"], name="pgq migrate")
    connection.autocommit = False
    return connection


if context.is_offline_mode():
    configure(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"})
    run()
else:
    engine = create_engine("postgresql+psycopg://", creator=connected, poolclass=pool.NullPool)
    with engine.connect() as connection:
        configure(connection=connection)
        run()
        connection.commit()
