-- Wakes the idle workers of these queues when the transaction commits, by the SQL API. Locks nothing. One row a queue.
select pgqueue.wake(q.queue)::text from pg_catalog.unnest(%(queues)s::text[]) as q (queue)
