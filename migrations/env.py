"""Alembic's entry: runs the revisions, then installs the SQL API of `pgqueue/sql/functions/` and the views of `views/`.

Functions and views are replaced as a whole at every upgrade instead of being copied into revisions, so each has one text,
in one file. If several hosts migrate at once, they wait for each other on a table of ours. A role without rights on it cannot
lock it. `migrate.upgrade` tries again for a while, and names the session that is in the way.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool, text

from pgqueue.database.run import connect
from pgqueue.sql import functions, views

# The owner of the schema can replace what we make in it, and a superuser who migrates would run the replacement.
OURS = """
do $do$
declare
    owner record;
begin
    if to_regnamespace('pgqueue') is null then
        create schema pgqueue;
    end if;
    select r.oid, r.rolname, r.rolsuper into owner
    from pg_namespace n join pg_roles r on r.oid = n.nspowner where n.nspname = 'pgqueue';
    if not owner.rolsuper and ((select m.rolsuper from pg_roles m where m.rolname = current_user)
                               or not pg_has_role(owner.oid, 'USAGE')) then
        raise exception using errcode = 'PQ201', message = format('the schema pgqueue belongs to the role %I, not to %I', owner.rolname, current_user),
            hint = format('let %I run pgq migrate, or, if nothing in it belongs to that role: alter schema pgqueue owner to %I', owner.rolname, current_user);
    end if;
    if to_regclass('pgqueue.schema_version') is not null then
        lock table pgqueue.schema_version in share row exclusive mode;
    end if;
end
$do$
"""
PREPARE = (
    "set local search_path = pg_catalog, pg_temp",
    "set local lock_timeout = '5s'",
    OURS,
    "set local check_function_bodies = off",  # functions may name each other, in any order
)
# PUBLIC may execute a new function, and some of ours run as their owner. `pgq db grants` says what each role needs.
CLOSE = "revoke all on all functions in schema pgqueue from public"


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
        for statement in PREPARE:
            context.execute(text(as_text(statement)))
        context.run_migrations()
        if context.get_revision_argument() == context.get_head_revision():
            for statement in (*functions().values(), *views().values(), CLOSE):
                context.execute(text(as_text(statement)))


def connected() -> Any:
    """A session with our search path, because SQLAlchemy and alembic ask the catalog, too."""
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
