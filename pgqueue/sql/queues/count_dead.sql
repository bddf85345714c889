-- Counts the dead jobs of each queue, for metrics. Counts at most `most` jobs in total, so its cost has a limit; the jobs of some queues can be
-- left out if there are more. Reads jobs_dead. Locks nothing. Zero rows: no job is dead.
select d.queue, count(*) from (select x.queue::text as queue from pgqueue.jobs_dead x limit %(most)s::int) d group by d.queue
