-- The tables that may hold over-age rows and are not dropped with their day: the default partitions, and days that a queue with a shorter
-- retention than the longest no longer keeps.
-- Returns with each the days before which rows may go. A table that was purged need not be purged again until these days change.
-- Locks nothing. Zero rows, the normal case: nothing to purge.
with kept as (
    select string_agg(q.name || ' ' || pgqueue.expired_before(q.retention), ',' order by q.name) as days,
           max(pgqueue.expired_before(q.retention)) as shortest, min(pgqueue.expired_before(q.retention)) as longest
    from pgqueue.queues q
)
select d.name, kept.days
from pgqueue.day_tables() d, kept
where d.parent = 'jobs_done' and d.attached and d.day < kept.shortest and d.day >= kept.longest
union all
select t.name, kept.days
from unnest(array['jobs_done_default', 'transitions_default']) as t (name), kept
where pg_relation_size(('pgqueue.' || t.name)::regclass) > 0
