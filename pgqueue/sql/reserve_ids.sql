-- Takes ids for jobs that are about to be copied in, and says what time it is. Locks nothing; ids that end up unused are gaps.
-- One row: the first and the last id, and all of them as an array's text only if somebody else took some in between.
with taken as materialized (
    select nextval('pgqueue.jobs_id_seq') as id from generate_series(1, %(count)s::int)
)
select min(t.id), max(t.id), case when max(t.id) - min(t.id) >= count(*) then array_agg(t.id)::text end, clock_timestamp()
from taken t
