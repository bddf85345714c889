-- Makes the coming days of jobs_done and transitions. One row for each day that was missing, and what became of it.
-- Locks: see functions/add_partitions.sql. Zero rows, the normal case: all days are there.
select p.name, p.what, p.why from pgqueue.add_partitions(%(days)s::int) p
