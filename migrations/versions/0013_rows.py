"""What SQL may write into a job is bounded in the form that is used, and each table has a replica identity."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# What leaves the database is text, which may be 8,000 times as long as what is stored: 1e131071 takes 16 bytes. What takes
# 240 bytes cannot be longer than 2 MiB, and need not be measured, unless it is compressed: then it comes from another table.
# Every insert prepares each of these expressions, and a cast to text costs that four times as much as #>>.
LENGTH = "octet_length(value #>> '{}')"
SMALL = "pg_column_size(value) <= 240 and pg_column_compression(value) is null"
CHANGED = {
    "job_args": f"jsonb_typeof(value) = 'object' and ({SMALL} or {LENGTH} <= 2097152)",
    "job_meta": f"jsonb_typeof(value) = 'object' and ({SMALL} or {LENGTH} <= 524288)",
}
# Room above the 10,000 attempts that a job may have: a claim counts on from what it finds.
NEW = {
    "job_count": ("smallint", "value between 0 and 20000", ("attempt", "crash_count")),
    "job_lease": ("bigint", "value between 0 and 4611686018427387904", ("lease_id",)),
    "job_note": ("jsonb", f"{LENGTH} <= 2097152", ("trace_context", "progress")),
}
# Each insert reads a check of a table from its text again, so it says only what the queue rests on.
SHAPE = (
    "alter table pgqueue.jobs_live drop constraint if exists jobs_live_shape_check",
    """
    alter table pgqueue.jobs_live add constraint jobs_live_shape_check
        check ((state = 'running') = (worker_id is not null)) not valid
    """,
    "alter table pgqueue.jobs_live validate constraint jobs_live_shape_check",
)

# A column of a user's view cannot change its type.
VIEWS = """
do $do$
declare
    view text;
begin
    drop view if exists pgqueue.running, pgqueue.dead_letters, pgqueue.job_timeline;
    select r.ev_class::regclass::text into view
    from pg_depend d join pg_rewrite r on r.oid = d.objid
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    join pg_class c on c.oid = a.attrelid
    where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
      and c.relnamespace = 'pgqueue'::regnamespace and c.relname ~ '^jobs(_|$)'
      and a.attname in ('attempt', 'crash_count', 'lease_id', 'trace_context', 'progress')
    limit 1;
    if found then
        raise exception using errcode = 'PQ003',
            message = format('the view %s uses a column of pgqueue.jobs whose type changes', view);
    end if;
end
$do$
"""

# What a publication FOR ALL TABLES needs, or it refuses each update and delete. Days that are made later: functions/add_partitions.sql.
IDENTITIES = """
do $do$
declare
    t record;
begin
    for t in
        select c.oid::regclass as name, coalesce('using index ' || quote_ident(k.name), 'full') as identity
        from pg_class c
        left join lateral (
            select x.relname as name
            from pg_index i join pg_class x on x.oid = i.indexrelid
            where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indpred is null and i.indexprs is null
              and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum = any(i.indkey) and not a.attnotnull)
            limit 1) k on true
        where c.relnamespace = 'pgqueue'::regnamespace and c.relkind = 'r'
          and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
    loop
        execute format('alter table %s replica identity %s', t.name, t.identity);
    end loop;
end
$do$
"""


def execute(statement: str) -> None:
    op.execute(text(statement.replace(":", "\\:")))


def check(domain: str, condition: str) -> None:
    # Rows that are there stay as they are: one that cannot be claimed is buried when its turn comes.
    execute(f"alter domain pgqueue.{domain} add constraint {domain}_check check ({condition}) not valid")


def upgrade() -> None:
    execute(VIEWS)
    for domain, condition in CHANGED.items():
        execute(f"alter domain pgqueue.{domain} drop constraint {domain}_check")
        check(domain, condition)
    for domain, (base, _, _) in NEW.items():
        execute(f"create domain pgqueue.{domain} as {base}")
    # A domain that has its check already would rewrite every row of the table.
    columns = {column: domain for domain, (_, _, columns) in NEW.items() for column in columns}
    execute(
        "alter table pgqueue.jobs " + ", ".join(f"alter {c} type pgqueue.{d}" for c, d in columns.items())
    )
    for domain, (_, condition, _) in NEW.items():
        check(domain, condition)
    for statement in SHAPE:
        execute(statement)
    execute("drop function if exists pgqueue.extra(timestamptz, timestamptz, jsonb, text, text[], jsonb)")
    execute(
        "drop function if exists pgqueue.claim_limited(bigint, text[], text, smallint, text, integer, text)"
    )
    execute(IDENTITIES)
