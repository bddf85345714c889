-- Makes one job dead, when a statement over many jobs fails because of this job. functions/make_dead.sql says more, also what it locks.
-- Returns the job's task; null: the job was left alone.
select pgqueue.make_dead(%(job_id)s::bigint, %(worker_id)s::bigint, %(why)s::text)
