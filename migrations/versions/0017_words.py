"""One word for one thing: columns and functions get the names that the glossary has for them.

A column's new name changes the catalog alone: no row is written, and partitions and views follow.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# A worker of an earlier version would claim and settle by the former names. Each of its statements would fail, and its jobs would run
# a second time.
NO_WORKERS = r"""
do $do$
declare
    alive text;
begin
    select format('worker %s, process %s on %s, still works by the former names', w.id, w.pid, w.host) into alive
    from pgqueue.workers w
    where w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
    order by w.id limit 1;
    if found then
        raise exception using errcode = 'PQ004', message = alive;
    end if;
end
$do$
"""
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
# A day of finished jobs that was detached follows no parent, and could not be attached again with the former names.
COLUMNS = r"""
do $do$
declare
    c record;
begin
    for c in
        select t.oid::regclass as name, r.former, r.name as new
        from (values ('jobs', 'holds', 'seats_taken'), ('jobs', 'ours', 'stored_by_pgqueue'), ('seats', 'arrival', 'full_at'),
                     ('schedules', 'declared', 'digest'), ('tasks', 'declared', 'digest'), ('tasks', 'former', 'former_digests')
             ) as r (parent, former, name)
        join pg_class t on t.relnamespace = 'pgqueue'::regnamespace and t.relkind in ('r', 'p') and not t.relispartition
         and (t.relname = r.parent or r.parent = 'jobs' and t.relname ~ '^jobs_done_[12][0-9]{7}$')
        join pg_attribute a on a.attrelid = t.oid and a.attname = r.former and not a.attisdropped
        order by t.relname, r.former
    loop
        execute format('alter table %s rename column %I to %I', c.name, c.former, c.new);
    end loop;
end
$do$
"""
# A function that is renamed keeps its grants. One whose columns or parameters change, too, is made again
# after the last revision, and loses its grants: `pgq db grants` prints them.
FUNCTIONS = r"""
do $do$
declare
    f record;
begin
    for f in
        select to_regprocedure(r.former) as former, r.name
        from (values ('pgqueue.release(integer[], text[], integer[], text[])', 'give_back_seats'),
                     ('pgqueue.held_for_long(regclass[])', 'is_locked_for_long'), ('pgqueue.counted(bigint, text)', 'with_noun'),
                     ('pgqueue.days()', 'day_tables'), ('pgqueue.fits(jsonb)', 'fits_as_args'),
                     ('pgqueue.moment(jsonb, timestamptz)', 'option_time'), ('pgqueue.shown(timestamptz)', 'time_in_words'),
                     ('pgqueue.bury(bigint, bigint, text)', 'make_dead'),
                     ('pgqueue.is_over(text, timestamptz, timestamptz, boolean, timestamptz)', 'is_overdue')
             ) as r (former, name)
        where to_regprocedure(r.former) is not null
    loop
        execute format('alter function %s rename to %I', f.former, f.name);
    end loop;
end
$do$
"""
DROPPED = (
    "extra(timestamptz, timestamptz, jsonb, text, text[], jsonb, boolean)",
    "seat(integer[], bigint[], text[], text[], integer[], text[])",
    "claim_limited(bigint, text[], text, smallint, text, integer, text, bigint[])",
    "keyed_lanes()",
    "heal_seats()",
)
# The trigger's function of the fourth revision, with the new name of its column.
LIMIT_CHANGED = """
create or replace function pgqueue.limit_changed() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
begin
    perform from pgqueue.seats s where s.limit_id = new.id order by s.limit_id, s.key for update;
    update pgqueue.seats s set free_at = null, full_at = null, wanted = 1 where s.limit_id = new.id;
    return null;
end
$body$
"""


def upgrade() -> None:
    for statement in (NO_WORKERS, DETACHED, COLUMNS, FUNCTIONS, LIMIT_CHANGED):
        op.execute(text(statement.replace(":", "\\:")))
    for function in DROPPED:
        op.execute(text(f"drop function if exists pgqueue.{function}"))
