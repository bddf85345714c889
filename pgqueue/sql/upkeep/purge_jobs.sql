-- Deletes over-age rows from a part of one table of finished jobs or transitions (functions/purge_jobs.sql).
-- Locks the rows that it deletes. Returns the block with which the next call must begin; null: the end of the table is reached.
select pgqueue.purge_jobs(%(child)s::text, %(first)s::bigint, %(count)s::int)
