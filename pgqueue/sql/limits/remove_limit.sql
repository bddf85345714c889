-- Removes a limit. The jobs that it held back can then run immediately. Locks the limit's row. Zero rows: there is no such limit.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    delete from pgqueue.limits l where l.id = %(limit_id)s::int returning l.*
)
select d.id
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'remove_limit',                                                                                  --? noted
           'about', jsonb_build_object('limit', d.id, 'queue', d.queue, 'task', d.task, 'key', d.key),                --? noted
           'before', to_jsonb(d),                                                                                     --? noted
           'can_undo', true), %(who)s::text::jsonb)                                                                   --? noted
from done d
