-- Pauses or resumes a queue; claims see it at once. Locks the queue's row. Zero rows: there is no such queue.
-- Resuming wakes the workers.
update pgqueue.queues q set paused = %(paused)s::boolean
where q.name = %(queue)s::text
returning q.name, case when not %(paused)s::boolean then pg_notify('pgqueue', q.name)::text end
