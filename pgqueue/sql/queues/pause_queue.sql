-- Pauses a queue. Claims see this immediately. If the queue has no row, because no worker has served it yet, makes the row. Locks the
-- queue's row.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    insert into pgqueue.queues as q (name, paused)
    values (%(queue)s::text, true)
    on conflict (name) do update set paused = true
    returning (q.xmax = 0) as is_new
)
select d.is_new
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'pause',                                                                                         --? noted
           'about', jsonb_build_object('queue', %(queue)s::text),                                                     --? noted
           'before', (select jsonb_build_object('paused', f.paused) from pgqueue.queues f where f.name = %(queue)s::text), --? noted
           'after', '{"paused": true}'::jsonb,                                                                        --? noted
           'can_undo', true), %(who)s::text::jsonb)                                                                   --? noted
from done d
