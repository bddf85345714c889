-- Makes the coming days of jobs_done and transitions. Returns the tables it made.
-- Locks: see functions/add_partitions.sql; the caller sets a short lock_timeout and tries again later.
select name from pgqueue.add_partitions(%(days)s::int) as name
