-- The rights of a person who uses `pgq`, or of a panel. Such a role reads everything; it cancels, revives, edits and deletes jobs, pauses
-- and removes queues, and sets limits and schedules; all of this is written into the audit. A schedule can run a job with an idempotency key or a throttle.
grant usage on schema pgqueue to ROLE;
grant select on all tables in schema pgqueue to ROLE;
grant insert, update, delete on pgqueue.jobs_live, pgqueue.limits, pgqueue.schedules, pgqueue.schedule_runs, pgqueue.queues,
    pgqueue.idempotency_keys to ROLE;
grant insert on pgqueue.unresolved to ROLE;
grant update on pgqueue.nodes, pgqueue.workflows to ROLE;
grant insert on pgqueue.transitions, pgqueue.jobs_done, pgqueue.jobs, pgqueue.checkpoints to ROLE;
grant update on pgqueue.jobs, pgqueue.jobs_dead, pgqueue.jobs_done, pgqueue.alerts to ROLE;
grant delete on pgqueue.jobs_dead, pgqueue.jobs_done, pgqueue.checkpoints to ROLE;
grant insert (job_id, at, taken_by, name, key, sender, payload) on pgqueue.signals to ROLE;
-- Each action is written into the audit. The operator can add rows there, but choose neither their time nor their role, and change no row.
grant insert (actor, source, action, about, before, after, changed, seen, refused, job_ids, operation, is_last, undoes, undo_until)
    on pgqueue.audit to ROLE;
grant insert, delete on pgqueue.undo_rows to ROLE;
grant insert (worker_id, request) on pgqueue.worker_requests to ROLE;
grant update (value) on pgqueue.checkpoints to ROLE;
grant usage on sequence pgqueue.jobs_id_seq to ROLE;
grant usage, update on sequence pgqueue.waited_until to ROLE;
grant execute on all functions in schema pgqueue to ROLE;
revoke execute on function pgqueue.add_partitions, pgqueue.drop_partitions, pgqueue.purge_jobs, pgqueue.recount_seats from ROLE;
