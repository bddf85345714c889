-- The columns that a claim returns: everything that the worker needs to run and settle a job. worker/attempt.py reads them in this order.
-- The arguments are returned as text, and the worker decodes the arguments of each job separately. So arguments that cannot be decoded do
-- not keep the other claimed jobs from running. The casts remove the domains, because the signature of functions/claim_limited.sql has the
-- base types.
j.id, j.lease_id::bigint, j.queue::text, j.priority, j.task::text, j.args::text, j.attempt::smallint, j.max_attempts::smallint,
j.crash_count::smallint, date_part('epoch', j.timeout::interval) as timeout, date_part('epoch', j.run_at::timestamptz) as run_at,
date_part('epoch', j.created_at::timestamptz) as created_at, j.trace_context::text,
pgqueue.rare_fields(j.expires_at, j.deadline_at, j.progress, j.unique_key, j.tags, j.meta, j.stored_by_pgqueue,
    j.workflow_id, j.version) as rare_fields, j.concurrency_key::text
