-- Pauses a queue; claims see it at once. A queue that no worker has served yet gets its row here. Locks the queue's row.
insert into pgqueue.queues as q (name, paused)
values (%(queue)s::text, true)
on conflict (name) do update set paused = true
returning (q.xmax = 0)
