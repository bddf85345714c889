-- Takes ids for jobs that are about to be copied in, and returns the time now. Locks nothing. Ids that are never used leave gaps.
-- Returns one row: the first id; the last id; all ids as the text of an array, if another session took ids in between, else null; the
-- time; the id of the transaction. With this id, find_copied.sql can later find out whether the transaction was committed.
with taken as materialized (
    select pg_catalog.nextval('pgqueue.jobs_id_seq') as id from pg_catalog.generate_series(1, %(count)s::int)
)
select pg_catalog.min(t.id), pg_catalog.max(t.id),
    case when (pg_catalog.max(t.id) operator(pg_catalog.-) pg_catalog.min(t.id)) operator(pg_catalog.>=) pg_catalog.count(*)
         then pg_catalog.array_agg(t.id)::text end, pg_catalog.clock_timestamp(),
    pg_catalog.pg_current_xact_id()::text
from taken t
