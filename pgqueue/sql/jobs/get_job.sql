-- One job by id, by the unique index of each partition. Locks nothing. Zero rows: there is no such job.
-- A job moves between partitions in one statement, so it is seen once, in its old or its new state.
select j.id, j.queue, j.task, pgqueue.text_of(j.args), j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id,
    j.worker_id, j.crash_count, j.unique_key, j.concurrency_key, j.tags, j.created_at, pgqueue.time_of(j.started_at), pgqueue.time_of(j.finished_at),
    extract(epoch from j.timeout)::float8, pgqueue.text_of(j.progress), pgqueue.text_of(j.result), j.last_error, j.last_traceback,
    j.cancel_requested, pgqueue.text_of(j.meta), j.expires_at, j.deadline_at
from pgqueue.jobs j
where j.id operator(pg_catalog.=) %(job_id)s::bigint
order by j.finished_at nulls first
limit 1
