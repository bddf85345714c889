"""The migrated database has the shape that ``pgqueue.schema`` declares: its columns, constraints, domains, indexes and partitions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql

from pgqueue.database import migrate, statements
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.database.run import run
from pgqueue.schema import DOMAINS, metadata

Shape = dict[str, str]

SHAPE = """
select 'column ' || c.relname || '.' || a.attname,
       format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
       || case when a.attidentity <> '' then ' identity ' || a.attidentity::text else '' end
       || case when a.attcollation = 'pg_catalog."C"'::regcollation then ' collate C' else '' end
from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
union all
select 'constraint ' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
from pg_constraint k join pg_class c on c.oid = k.conrelid
where k.connamespace = 'pgqueue'::regnamespace and k.contype <> all('{n,t}')
union all
select 'domain ' || t.typname, format_type(t.typbasetype, t.typtypmod) || coalesce(' ' || replace(pg_get_constraintdef(k.oid), ' NOT VALID', ''), '')
       || case when t.typcollation = 'pg_catalog."C"'::regcollation then ' collate C' else '' end
from pg_type t left join pg_constraint k on k.contypid = t.oid
where t.typnamespace = 'pgqueue'::regnamespace and t.typtype = 'd'
union all
select 'index ' || c.relname, pg_get_indexdef(i.indexrelid)
from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = 'pgqueue'::regnamespace
union all
select 'table ' || c.relname, coalesce(pg_get_partkeydef(c.oid), '')
from pg_class c where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p')
"""
BOUNDS = """
select c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid)
from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p')
"""


def shape(connection: Connection[Any]) -> Shape:
    """Returns the definitions in the catalog, by name. It leaves out day tables, which are made and dropped every day, and the table of alembic."""
    rows = connection.execute(SHAPE).fetchall()
    # The definition of an index of a partitioned table contains ON ONLY, which is not part of the shape.
    return {
        name: text.replace(" ON ONLY ", " ON ")
        for name, text in rows
        if not re.search(r"_\d{8}|schema_version", name)
    }


@pytest.fixture
def declared(empty_dsn: str) -> Shape:
    import psycopg

    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("create schema pgqueue")
        connection.execute("create sequence pgqueue.jobs_id_seq")
        engine = create_engine(sqlalchemy_url(empty_dsn))
        metadata.create_all(engine)
        engine.dispose()
        for name, (base, check) in DOMAINS.items():
            connection.execute(f"create domain pgqueue.{name} as {_ddl(base)} check ({check})".encode())
        for column in (column for table in metadata.tables.values() for column in table.columns):
            if "domain" in column.info:
                change = (
                    f'alter table {column.table} alter "{column.name}" type pgqueue.{column.info["domain"]}'
                )
                connection.execute(change.encode())
        return shape(connection)


def _ddl(base: Any) -> str:
    return str(base.compile(dialect=postgresql.dialect()))


def test_the_migrated_database_has_the_declared_shape(db: Connection[Any], declared: Shape) -> None:
    assert shape(db).items() ^ declared.items() == set()


def test_the_partitions_have_the_declared_bounds(db: Connection[Any]) -> None:
    found = {
        child: (parent, bound)
        for child, parent, bound in db.execute(BOUNDS)
        if not re.search(r"_\d{8}$", child)
    }
    declared = {
        table.name: (table.info["partition_of"], table.info["bound"])
        for table in metadata.tables.values()
        if "bound" in table.info
    }
    assert found == declared


@pytest.mark.parametrize(
    "change",
    [
        (
            "drop index pgqueue.jobs_live_claim_idx;"
            " create index jobs_live_claim_idx on pgqueue.jobs_live (queue, priority, run_at, id) where state = 'pending'"
        ),
        "alter domain pgqueue.job_args drop constraint job_args_check",
        "alter table pgqueue.jobs_live drop constraint jobs_live_shape_check",
        "alter table pgqueue.jobs alter column queue drop default",
        "alter table pgqueue.workers alter column slots type bigint",
        "alter table pgqueue.workers add column extra text",
        "drop index pgqueue.jobs_live_unique_key",
    ],
)
def test_any_difference_from_the_declared_shape_is_found(
    db: Connection[Any], declared: Shape, change: str
) -> None:
    db.execute(change)
    assert shape(db) != declared


def test_a_migrated_database_has_the_revision_that_the_code_requires(db: Connection[Any]) -> None:
    assert run(db, statements.read_schema_version()) == migrate.HEAD
    assert migrate.differences(db) == []


def test_former_functions_with_other_parameters_are_no_difference(db: Connection[Any]) -> None:
    for kind in ("bytea", "integer", "bigint", "date", "uuid", "inet"):
        db.execute(
            f"create function pgqueue.is_reserved({kind}) returns boolean language sql as $$ select true $$".encode()
        )
    assert migrate.differences(db) == []
    db.execute(
        "create or replace function pgqueue.is_reserved(task text) returns boolean language sql as $$ select true $$"
    )
    assert migrate.differences(db) == ["function pgqueue.is_reserved is not the function of this version"]


def test_migrating_again_changes_nothing(dsn: str, db: Connection[Any]) -> None:
    before = shape(db)
    migrate.upgrade(dsn)
    assert shape(db) == before


def test_the_printed_sql_makes_the_same_schema(empty_dsn: str, db: Connection[Any]) -> None:
    import psycopg

    script = migrate.upgrade_sql()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(script.encode())
        assert shape(connection) == shape(db)
        assert migrate.differences(connection) == []


def test_hosts_that_migrate_at_the_same_time_wait_for_each_other(
    empty_dsn: str, connect: Callable[..., Connection[Any]]
) -> None:
    import psycopg

    command = [sys.executable, "-m", "pgqueue", "migrate", "--dsn", empty_dsn]
    hosts = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for host in hosts:
        _, said = host.communicate(timeout=60)
        assert host.returncode == 0, said.decode()
    with psycopg.connect(empty_dsn) as connection:
        migrate.check_server(connection)


TRIGGERS = """
select t.tgrelid::regclass::text || ' ' || t.tgname, pg_get_triggerdef(t.oid), t.tgenabled
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'pgqueue'::regnamespace and not t.tgisinternal and t.tgparentid = 0 order by 1
"""
# DECLARED maps each trigger to a pattern that its definition must match. The definition contains the event and the name of the function, but
# not the function's body.
DECLARED = {
    "pgqueue.checkpoints checkpoints_fence_trigger": r"CONSTRAINT TRIGGER .* AFTER INSERT OR UPDATE ON pgqueue\.checkpoints DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN .*'effect'.*'cursor'.* EXECUTE FUNCTION pgqueue\.fence_checkpoint\(\)",
    "pgqueue.jobs jobs_declared": r"AFTER INSERT ON pgqueue\.jobs REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION pgqueue\.fill_declared\(\)",
    "pgqueue.limits limits_changed_trigger": r"CONSTRAINT TRIGGER .* AFTER UPDATE ON pgqueue\.limits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pgqueue\.limit_changed\(\)",
    "pgqueue.nodes nodes_part_trigger": r"CONSTRAINT TRIGGER .* AFTER INSERT ON pgqueue\.nodes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN .*members.* EXECUTE FUNCTION pgqueue\.part_added\(\)",
    "pgqueue.signals signals_arrived_trigger": r"CONSTRAINT TRIGGER .* AFTER INSERT ON pgqueue\.signals DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pgqueue\.signal_arrived\(\)",
    "pgqueue.schedules schedules_replan": r"BEFORE INSERT OR UPDATE ON pgqueue\.schedules FOR EACH ROW EXECUTE FUNCTION pgqueue\.replan_schedule\(\)",
}


def test_the_triggers_exist_as_declared_and_are_enabled(db: Connection[Any]) -> None:
    found = {name: (text, enabled) for name, text, enabled in db.execute(TRIGGERS).fetchall()}
    assert found.keys() == DECLARED.keys()
    for name, pattern in DECLARED.items():
        text, enabled = found[name]
        assert re.search(pattern, text), text
        assert enabled == "O", name
