-- Finds the queues that hold unclaimed jobs (functions/unclaimed_queues.sql) and whose names fit one of these LIKE patterns. Locks nothing.
-- Zero rows: there is no such queue.
select q.name from pgqueue.unclaimed_queues() q (name) where q.name like any(%(patterns)s::text[])
