-- The columns that a claim returns, all that running and settling need, in the order in which worker/attempt.py reads them.
-- Arguments leave as text, because one row that cannot be decoded must not strand the others. The casts remove the domains, because the
-- signature of functions/claim_limited.sql does not name those.
j.id, j.lease_id::bigint, j.queue::text, j.priority, j.task::text, j.args::text, j.attempt::smallint, j.max_attempts::smallint,
j.crash_count::smallint, date_part('epoch', j.timeout::interval) as timeout, date_part('epoch', j.run_at::timestamptz) as run_at,
date_part('epoch', j.created_at::timestamptz) as created_at, j.trace_context::text,
pgqueue.rare_fields(j.expires_at, j.deadline_at, j.progress, j.unique_key, j.tags, j.meta, j.stored_by_pgqueue) as rare_fields, j.concurrency_key::text
