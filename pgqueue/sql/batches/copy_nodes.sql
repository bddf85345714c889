-- Stores many jobs that are nodes of a workflow, in the same way as copy_jobs.sql. Returns no rows. The nodes are stored already.
-- Locks nothing that another enqueuer could wait for. Does not wake the workers: wake.sql does that.
copy pgqueue.jobs_live
    (id, args, task, queue, priority, created_at, run_at, max_attempts, timeout, concurrency_key, weight, ordering, tags, meta, trace_context,
     workflow_id)
from stdin (format binary)
