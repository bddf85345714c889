-- Pauses a queue. Claims see this immediately. If the queue has no row, because no worker has served it yet, makes the row. Locks the
-- queue's row.
insert into pgqueue.queues as q (name, paused)
values (%(queue)s::text, true)
on conflict (name) do update set paused = true
returning (q.xmax = 0)
