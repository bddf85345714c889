-- Returns, of what a job was before an edit and is now, only the values that the edit has changed: {"lease_id", "former", "later"}.
create or replace function pgqueue.changed_values(before jsonb, later jsonb)
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $function$
    select jsonb_build_object('lease_id', before -> 'lease_id',
                              'former', coalesce(jsonb_object_agg(f.key, f.value), '{}'),
                              'later', coalesce(jsonb_object_agg(f.key, later -> f.key), '{}'))
    from jsonb_each(before -> 'former') f
    where f.value is distinct from later -> f.key
$function$;
