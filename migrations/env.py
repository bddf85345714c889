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

from pgqueue.database.run import connect
from pgqueue.sql import functions, views

# The owner of a schema can replace the functions in it. A superuser who migrates would then run the replaced functions with all rights.
# So a superuser migrates only a schema that belongs to a superuser. Another role migrates only a schema that belongs to a superuser, or to
# a role whose rights it has.
OURS = """
do $do$
declare
    owner record;
    revisions text[];
begin
    if to_regnamespace('pgqueue') is null then
        create schema pgqueue;
    end if;
    select r.oid, r.rolname, r.rolsuper into owner
    from pg_namespace n join pg_roles r on r.oid = n.nspowner where n.nspname = 'pgqueue';
    if not owner.rolsuper and ((select m.rolsuper from pg_roles m where m.rolname = current_user)
                               or not pg_has_role(owner.oid, 'USAGE')) then
        raise exception using errcode = 'PQ201', message = format('the schema pgqueue belongs to the role %I, not to %I', owner.rolname, current_user),
            hint = format('let %I run pgq migrate, or, if that role owns nothing in the schema: alter schema pgqueue owner to %I', owner.rolname, current_user);
    end if;
    if to_regclass('pgqueue.schema_version') is not null then
        lock table pgqueue.schema_version in share row exclusive mode;
        revisions := array(select v.version_num from pgqueue.schema_version v order by v.version_num);
        if cardinality(revisions) <> 1 then
            raise exception using errcode = 'PQ005', message = format('the table pgqueue.schema_version has %s rows: it is not clear which revision the schema has', cardinality(revisions)),
                detail = array_to_string(revisions, ', ');
        end if;
        if revisions[1] < '0017' and to_regclass('pgqueue.workers') is not null then
            lock table pgqueue.workers in share row exclusive mode;
        end if;
    end if;
end
$do$
"""
# Revision 0017 refuses to run beside workers, but it looks for them without a lock. So the lock is taken here: no worker can register, and
# none can claim, between that look and the end of the upgrade.
PREPARE = (
    "set local search_path = pg_catalog, pg_temp",
    "set local lock_timeout = '5s'",
    OURS,
    "set local check_function_bodies = off",  # a function can call one that is created later
)
# By default PUBLIC can execute every new function, but some functions of pgqueue run with the rights of their owner. `pgq db grants`
# prints the rights that each kind of role needs.
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
