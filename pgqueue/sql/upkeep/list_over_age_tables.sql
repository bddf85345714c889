-- Lists the tables that can have over-age rows and are not dropped as a whole: the default partitions, and day tables that are older than
-- the retention of some queue but not older than the longest retention.
-- Returns with each table, for each queue, the day before which its rows can be deleted. A table that was purged need not be purged again
-- until one of these days changes.
-- Locks nothing. Zero rows, the normal case: there is nothing to purge.
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
