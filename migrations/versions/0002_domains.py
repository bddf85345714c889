"""Checks of values become domains, claims keep room on their pages, and a flag says that a queue is awake.

For a time the first revision made all of this itself, so a database of revision 0001 may be of either kind: where the
domains are there, nothing is left to do. Hence one block, which also the printed SQL can decide in.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FLAGS = 64

# What a caller may write into a column is a domain's check, not the table's: a table's checks are read from the catalog
# by every statement that touches it and evaluated again for each claim and settle, which cost them a third.
# A regex with a bounded repeat, {0,62}, costs twenty times one with a star.
DOMAINS = {
    "queue_name": ('text collate "C"', "value ~ '^[A-Za-z_][A-Za-z0-9_.:-]*$' and octet_length(value) <= 63"),
    "task_name": ('text collate "C"', "value ~ '^[A-Za-z_][A-Za-z0-9_.:-]*$' and octet_length(value) <= 127"),
    "job_key": ('text collate "C"', "octet_length(value) between 1 and 255"),
    "job_args": ("jsonb", "jsonb_typeof(value) = 'object' and pg_column_size(value) <= 2097152"),
    "job_meta": ("jsonb", "jsonb_typeof(value) = 'object' and pg_column_size(value) <= 524288"),
    "job_tags": (
        "text[]",
        "cardinality(value) <= 32 and array_position(value, null) is null and pg_column_size(value) <= 4096",
    ),
    "job_time": ("timestamptz", "value >= '2000-01-01 00:00+00' and value < '3000-01-01 00:00+00'"),
    "job_timeout": ("interval", "value > interval '0' and value <= interval '365 days'"),
    "attempts": ("smallint", "value between 1 and 10000"),
}

# A domain that has its check already would rewrite every row of the table; one that gets it afterwards only reads them.
COLUMNS = """
    alter table pgqueue.jobs
        alter run_at type pgqueue.job_time, alter created_at type pgqueue.job_time,
        alter max_attempts type pgqueue.attempts, alter queue type pgqueue.queue_name,
        alter task type pgqueue.task_name, alter unique_key type pgqueue.job_key,
        alter concurrency_key type pgqueue.job_key, alter timeout type pgqueue.job_timeout,
        alter tags type pgqueue.job_tags, alter args type pgqueue.job_args, alter meta type pgqueue.job_meta;
    alter table pgqueue.queues alter name type pgqueue.queue_name;
    alter table pgqueue.idempotency_keys alter task type pgqueue.task_name, alter key type pgqueue.job_key;
"""

# Days repeat the constraints of their parent as their own; one that a crash left detached has them too.
CONSTRAINTS = """
    for old in
        select k.conrelid::regclass as child, k.conname as name
        from pg_constraint k join pg_class c on c.oid = k.conrelid
        where k.connamespace = 'pgqueue'::regnamespace and k.contype = 'c' and c.relname ~ '^jobs(_|$)'
        order by c.relname <> 'jobs'
    loop
        execute format('alter table %s drop constraint if exists %I', old.child, old.name);
    end loop;
"""

# Half of a live page is kept for the claims of the jobs on it: the new version of a row needs no other page, and the log
# holds only what changed (320 bytes less a job).
TABLES = """
    alter table pgqueue.queues drop constraint queues_name_check;
    alter table pgqueue.idempotency_keys drop constraint idempotency_keys_key_check;
    alter table pgqueue.jobs_live set (fillfactor = 50, toast.autovacuum_vacuum_scale_factor = 0.05,
        toast.autovacuum_vacuum_threshold = 2000, toast.autovacuum_vacuum_cost_delay = 0);
    alter table pgqueue.jobs_live add constraint jobs_live_shape_check
        check (finished_at is null and (state = 'running') = (worker_id is not null));
    alter table pgqueue.jobs_dead alter finished_at set not null;
    alter table pgqueue.jobs_done alter finished_at set not null;
    drop function if exists pgqueue.add_partitions(integer);
    drop function if exists pgqueue.drop_partitions();
"""

# Views are made anew after the last revision.
BLOCK = f"""
do $do$
declare
    old record;
begin
    if to_regtype('pgqueue.queue_name') is not null then
        return;
    end if;
    drop view pgqueue.running, pgqueue.dead_letters, pgqueue.queue_depth, pgqueue.job_timeline;
    {" ".join(f"create domain pgqueue.{name} as {base};" for name, (base, _) in DOMAINS.items())}
    {COLUMNS}
    {" ".join(f"alter domain pgqueue.{name} add constraint {name}_check check ({check});" for name, (_, check) in DOMAINS.items())}
    {CONSTRAINTS}
    {TABLES}
    for flag in 0 .. {FLAGS - 1} loop
        execute format('drop sequence pgqueue.busy_%s', flag);
        execute format('create sequence pgqueue.awake_%s as bigint minvalue 0', flag);
    end loop;
end
$do$
"""


def upgrade() -> None:
    op.execute(text(BLOCK.replace(":", "\\:")))
