-- Deletes over-age rows from a part of one table of finished jobs or transitions (see functions/purge_jobs.sql).
-- Locks the rows it deletes. Returns the next block to look at; null: the table ends here.
select pgqueue.purge_jobs(%(child)s::text, %(first)s::bigint, %(count)s::int)
