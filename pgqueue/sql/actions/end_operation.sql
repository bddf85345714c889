-- Writes that an operation has ended. `seen`: how many jobs no slice has counted, such as ids without a job. Locks only the new row.
select pgqueue.note_action(jsonb_build_object(
    'action', a.action, 'about', '{}', 'changed', 0, 'seen', 0, 'operation', a.id, 'is_last', true), %(who)s::text::jsonb)
from pgqueue.audit a
where a.id = %(operation)s::bigint
