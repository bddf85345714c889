-- Returns again what a claim took if its answer was lost on the way: the running jobs of this worker other than `known`.
-- Expects jobs_live_worker_idx. Locks nothing, because only this worker claims under its id.
-- Zero rows: no answer was lost, or the lease is over and the jobs are no longer this worker's.
select
    --+ claimed j
from pgqueue.jobs_live j
where j.worker_id = %(worker_id)s::bigint and j.state = 'running' and j.id <> all(%(known)s::bigint[])
  and exists (select from pgqueue.workers w where w.id = %(worker_id)s::bigint and w.expires_at > clock_timestamp())
order by j.priority, j.run_at, j.id
