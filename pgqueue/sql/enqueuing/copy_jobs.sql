-- Stores many jobs that have no unique key and no idempotency key. Their rows are sent in binary form (pgqueue/app/copy_lines.py). Returns
-- no rows.
-- Locks nothing that another enqueuer could wait for. Does not wake the workers: wake.sql does that.
copy pgqueue.jobs_live
    (id, args, task, queue, priority, created_at, run_at, max_attempts, timeout, concurrency_key, weight, ordering, tags, meta, trace_context)
from stdin (format binary)
