-- Makes the day tables of jobs_done and transitions for the coming days. Returns one row for each day table that was missing: its name,
-- whether it was made, and if not, why.
-- functions/add_partitions.sql says what it locks. Zero rows, the normal case: all day tables exist.
select p.name, p.what, p.why from pgqueue.add_partitions(%(days)s::int) p
