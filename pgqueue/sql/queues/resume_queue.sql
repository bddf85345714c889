-- Resumes a queue and wakes its workers. Locks the queue's row. Zero rows: there is no such queue, or the queue has no row yet, which means
-- that it is not paused.
update pgqueue.queues q set paused = false
where q.name = %(queue)s::text
returning q.name, pg_notify('pgqueue', q.name)::text
