-- Returns the items of enqueue_many with one job in each item: an item with `each` becomes several items. Locks nothing.
create or replace function pgqueue.split_each(jobs jsonb)
returns jsonb
language sql
immutable parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select jsonb_agg(case when b.body ? 'each'
                          then b.body - 'each' - 'keys' - 'idempotency_keys' || jsonb_build_object('args', a.args)
                               || case when a.key is null then '{}' else jsonb_build_object('unique_key', a.key) end
                               || case when a.request is null then '{}' else jsonb_build_object('idempotency_key', a.request) end
                          else b.body end
                     order by b.place, a.place)
    from jsonb_array_elements(jobs) with ordinality as b(body, place)
    cross join lateral rows from (
        jsonb_array_elements(case when b.body ? 'each' then b.body -> 'each' else '[null]' end),
        jsonb_array_elements(b.body -> 'keys'), jsonb_array_elements(b.body -> 'idempotency_keys'))
        with ordinality as a(args, key, request, place)
$function$;
