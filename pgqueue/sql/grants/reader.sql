-- The rights of a person or a monitor that only reads, with SQL or `pgq`. Such a role can also read arguments, results and errors.
grant usage on schema pgqueue to ROLE;
grant select on all tables in schema pgqueue to ROLE;
grant usage on sequence pgqueue.jobs_id_seq to ROLE;
grant execute on function pgqueue.why, pgqueue.time_in_words, pgqueue.with_noun, pgqueue.serving_name, pgqueue.is_full, pgqueue.is_overdue,
    pgqueue.is_served, pgqueue.day_tables, pgqueue.text_of, pgqueue.time_of, pgqueue.expired_before, pgqueue.error_origin, pgqueue.fingerprint, pgqueue.fingerprint_of,
    pgqueue.recent_failures, pgqueue.recent_dead, pgqueue.recent_events, pgqueue.refusal, pgqueue.quantiles,
    pgqueue.lanes_in_turns, pgqueue.declared_secrets, pgqueue.contains_secret to ROLE;
-- If the reader must not see what is in the jobs, grant these instead of select on all tables:
-- grant select (id, queue, state, run_at) on pgqueue.jobs_live to ROLE;
-- grant select (id, queue, task, state, priority, run_at, attempt, max_attempts, lease_id, worker_id, crash_count, tags) on pgqueue.jobs to ROLE;
-- grant select (created_at, started_at, finished_at, timeout, cancel_requested, expires_at, deadline_at, workflow_id, version, transaction_id) on pgqueue.jobs to ROLE;
-- grant select on pgqueue.jobs_redacted to ROLE;
-- grant select (name, paused) on pgqueue.queues to ROLE;
-- grant select on pgqueue.queue_depth to ROLE;
