-- Writes that jobs were imported, in the transaction that stores them. Locks only the new row. Returns its id.
select pgqueue.note_action(jsonb_build_object(
    'action', 'import', 'about', '{}'::jsonb, 'changed', cardinality(%(job_ids)s::bigint[]), 'seen', %(seen)s::int,
    'job_ids', to_jsonb(%(job_ids)s::bigint[])), %(who)s::text::jsonb)
