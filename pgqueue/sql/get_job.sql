-- One job by id, by the unique index of each partition. Locks nothing. Zero rows: there is no such job.
-- A job moves between partitions in one statement, so it is seen once, in its old or its new state.
select j.id, j.queue, j.task, j.args::text, j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id,
    j.worker_id, j.crash_count, j.unique_key, j.concurrency_key, j.tags, j.created_at, j.started_at, j.finished_at,
    extract(epoch from j.timeout)::float8, j.progress::text, j.result::text, j.last_error, j.last_traceback,
    j.cancel_requested, j.meta::text, j.expires_at, j.deadline_at
from pgqueue.jobs j
where j.id operator(pg_catalog.=) %(job_id)s::bigint
order by j.finished_at nulls first
limit 1
