-- Returns again what a claim has taken whose answer was lost on the way: running jobs of this worker other than `known`.
-- Columns as in claim.sql. Reads jobs_live_worker_idx, and locks nothing: only this worker claims under its id.
-- Zero rows: no answer was lost, or the lease is over and the jobs are no longer this worker's.
select j.id, j.lease_id, j.queue, j.priority, j.task, j.args::text, j.attempt, j.max_attempts, j.crash_count,
    date_part('epoch', j.timeout), date_part('epoch', j.run_at), date_part('epoch', j.created_at),
    j.trace_context::text,
    pgqueue.extra(j.expires_at, j.deadline_at, j.progress, j.unique_key, j.tags, j.meta, j.ours), j.concurrency_key
from pgqueue.jobs_live j
where j.worker_id = %(worker_id)s::bigint and j.state = 'running' and j.id <> all(%(known)s::bigint[])
  and exists (select from pgqueue.workers w where w.id = %(worker_id)s::bigint and w.expires_at > clock_timestamp())
order by j.priority, j.run_at, j.id
