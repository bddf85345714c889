-- The tables that may hold over-age rows which no dropped day takes along: the default partitions, and the days that some
-- queue with a shorter retention than the longest keeps no more. With the days before which rows may go: once a table was
-- purged, it need not be again until they change. Locks nothing. Zero rows, the normal case: nothing to purge.
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
