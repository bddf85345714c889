-- Writes the audit row of an operation, which consists of several calls of act(). Each of them writes a row of its own, whose `operation` is
-- the id that this statement returns. Locks only the new row.
select pgqueue.note_action(jsonb_build_object(
    'action', %(action)s::text, 'about', %(about)s::text::jsonb, 'after', %(after)s::text::jsonb, 'changed', 0,
    'is_last', false), %(who)s::text::jsonb)
