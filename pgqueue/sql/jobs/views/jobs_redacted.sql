-- Jobs without what can be secret: arguments, results, meta, progress, errors and keys. A role can read this view with rights on these
-- columns of pgqueue.jobs alone (grants/reader.sql).
create or replace view pgqueue.jobs_redacted with (security_invoker) as
    select j.id, j.queue, j.task, j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id, j.worker_id, j.crash_count, j.tags,
           j.created_at, j.started_at, j.finished_at, j.timeout, j.cancel_requested, j.expires_at, j.deadline_at, j.workflow_id, j.version,
           j.transaction_id
    from pgqueue.jobs j
