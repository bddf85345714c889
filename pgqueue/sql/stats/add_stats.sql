-- Adds what happened to a worker's attempts to pgqueue.stats (functions/add_stats.sql). Returns the database's time in epoch seconds.
select pgqueue.add_stats(%(deltas)s::jsonb)
