-- Resumes a queue and wakes its workers. Locks the queue's row. Zero rows: there is no such queue, or the queue has no row yet, which means
-- that it is not paused.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    update pgqueue.queues q set paused = false
    where q.name = %(queue)s::text
    returning q.name, pg_notify('pgqueue', q.name)::text as sent
)
select d.name, d.sent
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'resume',                                                                                        --? noted
           'about', jsonb_build_object('queue', %(queue)s::text),                                                     --? noted
           'before', (select jsonb_build_object('paused', f.paused) from pgqueue.queues f where f.name = %(queue)s::text), --? noted
           'after', '{"paused": false}'::jsonb,                                                                       --? noted
           'can_undo', true), %(who)s::text::jsonb)                                                                   --? noted
from done d
