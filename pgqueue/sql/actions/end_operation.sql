-- Writes that an operation has ended. `why`: why it stopped before its end; null: all is done. Locks only the new row.
select pgqueue.note_action(jsonb_build_object(
    'action', a.action, 'changed', 0, 'seen', 0, 'operation', a.id, 'is_last', true,
    'about', case when %(why)s::text is null then '{}' else jsonb_build_object('stopped', %(why)s::text) end), %(who)s::text::jsonb)
from pgqueue.audit a
where a.id = %(operation)s::bigint
