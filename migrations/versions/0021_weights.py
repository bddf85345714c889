"""The weight of a job becomes an integer up to 10^9, and so do the numbers of limits, which had no bound.

No table is rewritten: a new column takes the values of the former one, and only rows with a weight are written. Workers of the revision
before go on, because they know the column by its name.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# While a day of finished jobs is being detached, no change of its parent reaches it, and it can be attached to no table.
DETACHED = r"""
do $do$
declare
    d record;
begin
    for d in select i.inhparent::regclass as parent, i.inhrelid::regclass as child from pg_inherits i
             where i.inhdetachpending and i.inhparent = 'pgqueue.jobs_done'::regclass
    loop
        execute format('alter table %s detach partition %s finalize', d.parent, d.child);
    end loop;
end
$do$
"""
# A column of a domain that has its check already would rewrite the table. So the domain gets its check afterwards, which only reads rows.
# A day of finished jobs that was detached follows no parent, and could not be attached again with the former column.
# A role's rights on the former column go with it, so the same rights are granted on the new one.
COLUMN = r"""
do $do$
declare
    t        record;
    granted  record;
    rights   jsonb;
begin
    if exists (select from pg_type d where d.oid = to_regtype('pgqueue.job_weight') and d.typbasetype = 'integer'::regtype) then
        return;
    end if;
    alter domain pgqueue.job_weight rename to job_weight_before;
    create domain pgqueue.job_weight as integer;
    select jsonb_agg(jsonb_build_object('name', a.attrelid::regclass::text, 'right', e.privilege_type, 'grantable', e.is_grantable,
                                        'role', case e.grantee when 0 then 'public' else e.grantee::regrole::text end))
    into rights
    from pg_attribute a cross join lateral aclexplode(a.attacl) e
    where a.attname = 'weight' and not a.attisdropped and a.attrelid in (
        select c.oid from pg_class c where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p') and c.relname ~ '^jobs(_|$)');
    for t in
        select c.oid::regclass as name from pg_class c
        where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and (c.relname = 'jobs' or c.relname ~ '^jobs_done_[12][0-9]{7}$')
          and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'weight')
    loop
        execute format('alter table %s add column weight_now pgqueue.job_weight', t.name);
        execute format('update %s set weight_now = weight where weight is not null', t.name);
        execute format('alter table %s drop column weight', t.name);
        execute format('alter table %s rename column weight_now to weight', t.name);
    end loop;
    for granted in select r.* from jsonb_to_recordset(rights) as r (name text, "right" text, grantable boolean, role text) loop
        execute format('grant %s (weight) on %s to %s%s', granted."right", granted.name, granted.role,
                       case when granted.grantable then ' with grant option' else '' end);
    end loop;
    alter domain pgqueue.job_weight add constraint job_weight_check check (value between 1 and 1000000000);
end
$do$
"""
# The rows of functions that have a column of the former domain keep it from being dropped. Each such function gets the new domain and an
# empty body, and keeps the grants to roles. The text of its body comes after the last revision.
FUNCTIONS = r"""
do $do$
declare
    f       record;
    granted record;
    made    text;
begin
    if to_regtype('pgqueue.job_weight_before') is null then
        return;
    end if;
    for f in
        select p.oid::regprocedure::text as name, p.proacl as acl, p.proname as bare,
               pg_get_function_identity_arguments(p.oid) as parameters, pg_get_function_result(p.oid) as result
        from pg_proc p
        where p.oid in (
            select d.objid from pg_depend d
            where d.classid = 'pg_proc'::regclass and d.refclassid = 'pg_type'::regclass and d.refobjid = to_regtype('pgqueue.job_weight_before'))
    loop
        execute 'drop function ' || f.name;
        made := format('function pgqueue.%I(%s)', f.bare, f.parameters);
        execute format('create %s returns %s language plpgsql as %L', made, replace(f.result, 'job_weight_before', 'job_weight'), 'begin end');
        if f.acl is not null then
            execute format('revoke all on %s from public', made);
            for granted in select e.*, case e.grantee when 0 then 'public' else e.grantee::regrole::text end as role from aclexplode(f.acl) e loop
                execute format('grant %s on %s to %s%s', granted.privilege_type, made, granted.role,
                               case when granted.is_grantable then ' with grant option' else '' end);
            end loop;
        end if;
    end loop;
    drop domain pgqueue.job_weight_before;
end
$do$
"""
# Sums of two such numbers are integers.
LIMITS = """
update pgqueue.limits l
set concurrency = case when l.concurrency > 1000000000 then 1000000000 else l.concurrency end,
    rate = case when l.rate > 1000000000 then 1000000000 else l.rate end,
    burst = case when l.burst > 1000000000 then 1000000000 else l.burst end
where greatest(l.concurrency, l.rate, l.burst) > 1000000000
"""
CHECKS = """
alter table pgqueue.limits
    drop constraint limits_concurrency_check,
    drop constraint limits_rate_check,
    drop constraint limits_burst_check,
    add constraint limits_concurrency_check check (concurrency between 0 and 1000000000),
    add constraint limits_rate_check check (rate between 1 and 1000000000 and (rate is null) = (period is null)
        and period / rate >= interval '1 microsecond'),
    add constraint limits_burst_check check (burst is null or (burst between 1 and 1000000000 and rate is not null and not sliding))
"""


def upgrade() -> None:
    for statement in (DETACHED, COLUMN, FUNCTIONS, LIMITS, "set constraints all immediate", CHECKS):
        op.execute(text(statement.replace(":", "\\:")))
