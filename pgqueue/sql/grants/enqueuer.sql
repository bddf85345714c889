-- The rights of an application that enqueues from Python or SQL: one job, many jobs, jobs with unique keys, a workflow, or a batch. It can
-- also send signals to jobs. With these rights it cannot read arguments, results or errors, cannot change a job, and cannot store a job of
-- a hook.
grant usage on schema pgqueue to ROLE;
grant insert (id, task, args, queue, priority, created_at, run_at, max_attempts, timeout, unique_key, concurrency_key, weight,
    ordering, tags, meta, trace_context, expires_at, deadline_at, workflow_id) on pgqueue.jobs_live, pgqueue.jobs to ROLE;
grant select (id, task, queue, run_at, state, unique_key, expires_at, deadline_at, cancel_requested) on pgqueue.jobs_live to ROLE;
grant select on pgqueue.tasks to ROLE;
grant usage on sequence pgqueue.jobs_id_seq to ROLE;
grant execute on function pgqueue.enqueue, pgqueue.enqueue_many, pgqueue.enqueue_workflow, pgqueue.enqueue_batch, pgqueue.add_to_batch, pgqueue.open_parts,
    pgqueue.seal_batch, pgqueue.abandon_batch, pgqueue.check_jobs, pgqueue.with_declared, pgqueue.mark_undeclared,
    pgqueue.take_idempotency_keys, pgqueue.return_idempotency_keys, pgqueue.insert_jobs, pgqueue.store_one_by_one, pgqueue.job_items,
    pgqueue.unique_key, pgqueue.option_time, pgqueue.split_each, pgqueue.is_overdue, pgqueue.is_reserved, pgqueue.finish_overdue, pgqueue.wake, pgqueue.signal to ROLE;
-- If the application also uses idempotency_key or throttle, add these rights. With them, it can read how a job ended if it knows the job's
-- key:
-- grant select, insert, update, delete on pgqueue.idempotency_keys to ROLE;
-- grant select (id, state, result, last_error, finished_at) on pgqueue.jobs to ROLE;
-- If the application also uses on_conflict = 'raise', on_conflict = 'replace' or debounce, add these rights. With them, it can delete and
-- change any unfinished job:
-- grant delete, update on pgqueue.jobs_live to ROLE;
-- grant select (created_at, attempt) on pgqueue.jobs_live to ROLE;
-- grant select (job_id) on pgqueue.checkpoints to ROLE;
-- grant execute on function pgqueue.replace_job to ROLE;
-- If the application also waits for jobs (handle.result, handle.job), add these rights. With them, it can read all jobs:
-- grant select on pgqueue.jobs, pgqueue.jobs_live to ROLE;
-- grant execute on function pgqueue.text_of, pgqueue.time_of to ROLE;
-- grant usage, update on sequence pgqueue.waited_until to ROLE;
-- If the application also waits for workflows (handle.progress, handle.join), add this right, too:
-- grant select on pgqueue.workflows, pgqueue.nodes, pgqueue.workflow_overview to ROLE;
