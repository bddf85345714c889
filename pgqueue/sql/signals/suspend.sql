-- Suspends jobs whose handlers sleep or wait for a signal (functions/suspend.sql). The settler sends it.
-- Returns the ids of the jobs that were still this worker's. Zero rows: all leases were lost.
select s.id from pgqueue.suspend(%(worker_id)s::bigint, %(items)s::jsonb) s (id)
