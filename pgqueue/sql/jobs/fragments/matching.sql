-- The condition of a filter of jobs (JobFilter). A parameter that is null filters nothing. The last two conditions leave out jobs in which
-- the filter would find what people see masked: otherwise each answer would be a guess at a secret value.
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
and (%(named)s::text is null or strpos(lower(j.task), lower(%(named)s::text)) > 0)
and (%(worker_id)s::bigint is null or j.worker_id = %(worker_id)s::bigint)
and (%(workflow_id)s::bigint is null or j.workflow_id = %(workflow_id)s::bigint)
and (%(since)s::timestamptz is null or j.created_at >= %(since)s::timestamptz)
and (%(until)s::timestamptz is null or j.created_at < %(until)s::timestamptz)
and (%(queues)s::text[] is null or j.queue like any(%(queues)s::text[]))
and (%(asked)s::jsonb is null or regexp_replace(j.task, ':on_[a-z]+$', ':on') <> all (array(
    select d.task
    from pgqueue.declared_secrets() d, jsonb_array_elements_text(d.within_args) p (path), jsonb_array_elements(%(asked)s::jsonb) a (document)
    where jsonb_path_exists(a.document, p.path::jsonpath))))
and (%(named_secrets)s::jsonpath is null or not pgqueue.contains_secret(
    concat_ws(' ', case when %(error)s::text is not null then j.last_error end, %(tag)s::text, %(unique_key)s::text, %(concurrency_key)s::text,
              %(idempotency_key)s::text),
    jsonb_build_object('args', j.args, 'result', j.result, 'meta', j.meta), %(named_secrets)s::jsonpath,
    (select jsonb_object_agg(d.task, d.paths) from pgqueue.declared_secrets() d) -> regexp_replace(j.task, ':on_[a-z]+$', ':on')))
