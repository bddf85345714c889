-- Makes a job dead on which a statement over many fails; see functions/make_dead.sql, also for its locks. Its task; null: it was left alone.
select pgqueue.make_dead(%(job_id)s::bigint, %(worker_id)s::bigint, %(why)s::text)
