-- The items of enqueue_many with one job each, those with `each` taken apart. Locks nothing.
create or replace function pgqueue.apart(jobs jsonb)
returns jsonb
language sql
immutable parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select jsonb_agg(case when b.body ? 'keys'
                          then b.body - 'each' - 'keys' || jsonb_build_object('args', a.args, 'unique_key', a.key)
                          when b.body ? 'each' then b.body - 'each' || jsonb_build_object('args', a.args)
                          else b.body end
                     order by b.place, a.place)
    from jsonb_array_elements(jobs) with ordinality as b(body, place)
    cross join lateral rows from (
        jsonb_array_elements(case when b.body ? 'each' then b.body -> 'each' else '[null]' end),
        jsonb_array_elements(b.body -> 'keys')) with ordinality as a(args, key, place)
$function$;
