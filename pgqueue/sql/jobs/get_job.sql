-- Reads one job by its id, with the unique index of each partition. Locks nothing. Zero rows: there is no such job.
-- A job moves between partitions in one statement, so it is seen once, in its old state or in its new state.
select
    --+ shown j,
    --+ redact j
from pgqueue.jobs j
where j.id operator(pg_catalog.=) %(job_id)s::bigint
order by j.finished_at nulls first
limit 1
