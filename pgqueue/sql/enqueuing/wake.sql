-- Wakes the idle workers of these queues when the transaction commits (functions/wake.sql). Locks nothing. Returns one row for
-- each queue.
select pgqueue.wake(q.queue)::text from pg_catalog.unnest(%(queues)s::text[]) as q (queue)
