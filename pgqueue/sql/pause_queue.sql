-- Pauses a queue; claims see it at once. One that no worker has served yet gets its row so. Locks the queue's row.
insert into pgqueue.queues as q (name, paused)
values (%(queue)s::text, true)
on conflict (name) do update set paused = true
returning (q.xmax = 0)
