-- Takes ids for jobs that are about to be copied in, and says what time it is. Locks nothing; ids that end up unused are gaps.
-- One row: the first and the last id. If another session took some in between, also all ids, as an array's text.
with taken as materialized (
    select pg_catalog.nextval('pgqueue.jobs_id_seq') as id from pg_catalog.generate_series(1, %(count)s::int)
)
select pg_catalog.min(t.id), pg_catalog.max(t.id),
    case when (pg_catalog.max(t.id) operator(pg_catalog.-) pg_catalog.min(t.id)) operator(pg_catalog.>=) pg_catalog.count(*)
         then pg_catalog.array_agg(t.id)::text end, pg_catalog.clock_timestamp()
from taken t
