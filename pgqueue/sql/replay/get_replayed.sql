-- Reads the job that `pgq jobs replay` replays, whatever its state is: the columns that a claim returns (claimed.sql), its state, its worker.
-- Uses the unique index of each partition. Locks nothing. Zero rows: there is no such job.
-- A job moves between partitions in one statement, so it is seen once, in its old state or in its new state.
select
    --+ claimed j,
    j.state::text, j.worker_id
from pgqueue.jobs j
where j.id = %(job_id)s::bigint
order by j.finished_at nulls first
limit 1
