-- Makes a job dead on which a statement over many fails; see functions/bury.sql, also for its locks. Its task; null: it was left alone.
select pgqueue.bury(%(job_id)s::bigint, %(worker_id)s::bigint, %(why)s::text)
