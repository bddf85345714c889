-- If a statement over many jobs fails on one job, makes that job dead; see functions/make_dead.sql, also for its locks. Returns the job's
-- task; null: it was left alone.
select pgqueue.make_dead(%(job_id)s::bigint, %(worker_id)s::bigint, %(why)s::text)
