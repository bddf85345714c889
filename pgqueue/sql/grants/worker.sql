-- The rights of a worker (`pgq work`). It runs jobs, maintains the tables and sends alerts. It owns nothing.
grant usage on schema pgqueue to ROLE;
grant select on all tables in schema pgqueue to ROLE;
grant insert, update, delete on pgqueue.jobs_live, pgqueue.workers, pgqueue.leader, pgqueue.seats, pgqueue.starts, pgqueue.pauses,
    pgqueue.schedules, pgqueue.schedule_runs, pgqueue.schedule_sets, pgqueue.tasks, pgqueue.alerts, pgqueue.idempotency_keys,
    pgqueue.checkpoints, pgqueue.job_lines, pgqueue.signals, pgqueue.workflows, pgqueue.nodes, pgqueue.dependencies, pgqueue.unresolved,
    pgqueue.stats, pgqueue.stats_totals to ROLE;
grant update, delete on pgqueue.worker_requests to ROLE;  -- it answers what it is asked
grant delete on pgqueue.audit, pgqueue.undo_rows to ROLE;  -- the leader deletes old rows
grant delete on pgqueue.limits to ROLE;  -- the limit of a batch goes with it
grant insert on pgqueue.jobs, pgqueue.jobs_done, pgqueue.jobs_dead, pgqueue.transitions, pgqueue.queues to ROLE;
grant usage, select, update on all sequences in schema pgqueue to ROLE;
grant execute on all functions in schema pgqueue to ROLE;
-- On PostgreSQL 17 and later, add this, so that the worker can rebuild indexes that are much larger than their rows need:
-- grant maintain on pgqueue.jobs_live to ROLE;
