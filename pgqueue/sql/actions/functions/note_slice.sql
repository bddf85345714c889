-- Writes the audit row of one call of act(), if it changed a job or belongs to an operation. Values of an edit that can be secrets (args and
-- meta) are not written, only their names. A running job that was only asked to stop cannot be undone, so an action with no other job cannot
-- be undone either. Returns the row's id; null: there was nothing to write.
create or replace function pgqueue.note_slice(action text, options jsonb, who jsonb, acted bigint[], ids bigint[], words text[])
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $function$
    select pgqueue.note_action(jsonb_build_object(
        'action', action, 'operation', options -> 'operation', 'is_last', not options ? 'operation',
        'about', coalesce(options -> 'about', jsonb_build_object('ids', to_jsonb(ids))),
        'after', case when options -> 'forget' = 'true' then '{"forget": true}'::jsonb
                      else (select jsonb_object_agg(c.key, case when c.key in ('args', 'meta') then '"changed"' else c.value end)
                            from jsonb_each(options -> 'changes') c) end,
        'changed', cardinality(acted), 'job_ids', to_jsonb(acted),
        'seen', (select count(*) from unnest(words) w (word) where w.word <> 'alone'),
        'refused', (select jsonb_object_agg(r.word, r.ids)
                    from (select p.word, jsonb_agg(p.id order by p.id) as ids from unnest(ids, words) p (id, word)
                          where p.id <> all(acted) and p.word <> 'alone' group by 1) r),
        'can_undo', cardinality(acted) > cardinality(array_positions(words, 'requested')) and options -> 'forget' is distinct from 'true'), who)
    where cardinality(acted) > 0 or options ? 'operation'
$function$;
