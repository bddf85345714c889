"""What every upgrade of the schema does before and after the revisions, whether `pgq migrate` or the user's Alembic runs it.

The texts are escaped for SQLAlchemy's ``text()``, to which a colon before a word would be a parameter.
"""

from __future__ import annotations

from pgqueue.sql import functions, views

# The owner of a schema can replace the functions in it. A superuser who migrates would then run the replaced functions with all rights.
# So a superuser migrates only a schema that belongs to a superuser. Another role migrates only a schema that belongs to a superuser, or to
# a role whose rights it has.
OWNED = """
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
    OWNED,
    "set local check_function_bodies = off",  # a function can call one that is created later
)
# By default PUBLIC can execute every new function, but some functions of pgqueue run with the rights of their owner. `pgq db grants`
# prints the rights that each kind of role needs.
CLOSE = "revoke all on all functions in schema pgqueue from public"


def preparation() -> list[str]:
    """Returns the statements to run before the revisions. Their settings end with the transaction."""
    return [_as_text(statement) for statement in PREPARE]


def sql_api() -> list[str]:
    """Returns the statements that replace all functions and views, and close them to PUBLIC."""
    return [_as_text(statement) for statement in (*functions().values(), *views().values(), CLOSE)]


def _as_text(statement: str) -> str:
    return statement.replace(":", "\\:")
