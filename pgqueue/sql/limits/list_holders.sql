-- Lists the running jobs that have taken seats of one limit, the one that runs longest first, at most 100. `seats_taken` of a job is a list
-- of pairs: the id of a limit and a weight. Reads the running jobs by jobs_live_worker_idx. Locks nothing. Zero rows: no job has a seat.
select j.id, j.task, j.queue, j.concurrency_key, t.weight, j.started_at, j.worker_id,
    --+ secret_documents j
from pgqueue.jobs_live j
cross join lateral (
    select j.seats_taken[i + 1] as weight from generate_series(1, cardinality(j.seats_taken), 2) i
    where j.seats_taken[i] = %(limit_id)s::int limit 1
) t
where j.worker_id is not null and j.seats_taken is not null
order by j.started_at, j.id
limit 100
