-- Jobs by filter, newest id first, below `before` (a cursor). Every filter may be null. Reads the id index of each
-- partition backwards until `count` rows match. Locks nothing.
select j.id, j.queue, j.task, pgqueue.text_of(j.args), j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id,
    j.worker_id, j.crash_count, j.unique_key, j.concurrency_key, j.tags, j.created_at, pgqueue.time_of(j.started_at), pgqueue.time_of(j.finished_at),
    extract(epoch from j.timeout)::float8, pgqueue.text_of(j.progress), pgqueue.text_of(j.result), j.last_error, j.last_traceback,
    j.cancel_requested, pgqueue.text_of(j.meta), j.expires_at, j.deadline_at
from pgqueue.jobs j
where (%(states)s::text[] is null or j.state = any(%(states)s::text[]))
  and (%(queue)s::text is null or j.queue = %(queue)s::text)
  and (%(task)s::text is null or j.task = %(task)s::text)
  and (%(tag)s::text is null or %(tag)s::text = any(j.tags))
  and (%(error)s::text is null or strpos(lower(j.last_error), lower(%(error)s::text)) > 0)
  and (%(unique_key)s::text is null or j.unique_key = %(unique_key)s::text)
  and (%(concurrency_key)s::text is null or j.concurrency_key = %(concurrency_key)s::text)
  and (%(args)s::jsonb is null or j.args @> %(args)s::jsonb)
  and (%(idempotency_key)s::text is null
       or j.id in (select k.job_id from pgqueue.idempotency_keys k where k.key = %(idempotency_key)s::text))
  and (%(before)s::bigint is null or j.id < %(before)s::bigint)
order by j.id desc
limit %(count)s::int
