-- The condition of a filter of jobs (JobFilter). A parameter that is null filters nothing.
(%(states)s::text[] is null or j.state = any(%(states)s::text[]))
and (%(queue)s::text is null or j.queue = %(queue)s::text)
and (%(task)s::text is null or j.task = %(task)s::text)
and (%(tag)s::text is null or %(tag)s::text = any(j.tags))
and (%(error)s::text is null or strpos(lower(j.last_error), lower(%(error)s::text)) > 0)
and (%(unique_key)s::text is null or j.unique_key = %(unique_key)s::text)
and (%(concurrency_key)s::text is null or j.concurrency_key = %(concurrency_key)s::text)
and (%(args)s::jsonb is null or j.args @> %(args)s::jsonb)
and (%(idempotency_key)s::text is null
     or j.id in (select k.job_id from pgqueue.idempotency_keys k where k.key = %(idempotency_key)s::text))
