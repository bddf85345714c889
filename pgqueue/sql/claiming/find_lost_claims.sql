-- If the answer of a claim was lost on the way, returns the claimed jobs again. These are the running jobs of this worker other than
-- `known`.
-- Uses the index jobs_live_worker_idx. Locks nothing, because only this worker claims under its id.
-- Zero rows: no answer was lost, or this worker's lease has run out and the jobs are no longer its own.
select
    --+ claimed j
from pgqueue.jobs_live j
where j.worker_id = %(worker_id)s::bigint and j.state = 'running' and j.id <> all(%(known)s::bigint[])
  and exists (select from pgqueue.workers w where w.id = %(worker_id)s::bigint and w.expires_at > clock_timestamp())
order by j.priority, j.run_at, j.id
