-- Of jobs that are waited for: those that have ended, as they are; those of `watched`, in any state; and of what is not
-- there, the id alone. One look for all who wait in a process; those that have not ended cost a probe of one unique index each.
-- Locks nothing. Zero rows, the normal case: none has ended.
with seen as materialized (
    select w.id
    from unnest(%(job_ids)s::bigint[]) w (id)
    where w.id = any(%(watched)s::bigint[]) or (select l.id from pgqueue.jobs_live l where l.id = w.id) is null
)
select s.id, j.queue, j.task, j.args, j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id,
    j.worker_id, j.crash_count, j.unique_key, j.concurrency_key, j.tags, j.created_at, j.started_at, j.finished_at,
    j.timeout, j.progress, j.result, j.last_error, j.last_traceback, j.cancel_requested, j.meta, j.expires_at, j.deadline_at
from seen s
left join lateral (
    select j.queue, j.task, pgqueue.text_of(j.args) as args, j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id,
        j.worker_id, j.crash_count, j.unique_key, j.concurrency_key, j.tags, j.created_at, pgqueue.time_of(j.started_at) as started_at,
        pgqueue.time_of(j.finished_at) as finished_at,
        extract(epoch from j.timeout)::float8 as timeout, pgqueue.text_of(j.progress) as progress, pgqueue.text_of(j.result) as result, j.last_error, j.last_traceback,
        j.cancel_requested, pgqueue.text_of(j.meta) as meta, j.expires_at, j.deadline_at
    from pgqueue.jobs j
    where j.id = s.id
    order by j.finished_at nulls first
    limit 1
) j on true
