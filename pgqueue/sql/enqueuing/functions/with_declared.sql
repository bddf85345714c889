-- Adds to each item of enqueue_many the options that its task declares (pgqueue.tasks). If the item has the option itself, the item's
-- value stays.
-- An item with `declared` stays as it is, because it has the declared options already.
-- If a declared option about keys contradicts an option of the item, the declared option is left out, as in Python. Locks nothing.
create or replace function pgqueue.with_declared(jobs jsonb)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select jsonb_agg(
        case when t.options is null or b.body ? 'declared' or jsonb_typeof(b.body) <> 'object' then b.body
             else t.options
                  - case when b.body ?| array['unique', 'unique_key', 'keys'] then array['unique'] else '{}' end
                  - case when b.body -> 'unique' = 'false'
                         then array['unique_for', 'on_conflict', 'throttle', 'debounce', 'debounce_max'] else '{}' end
                  - case when b.body ?| array['throttle', 'debounce', 'idempotency_key', 'run_at', 'delay']
                         then array['debounce', 'debounce_max'] else '{}' end
                  - case when b.body ?| array['throttle', 'debounce', 'idempotency_key'] then array['throttle'] else '{}' end
                  || b.body
        end order by b.place)
    from jsonb_array_elements(jobs) with ordinality as b (body, place)
    left join pgqueue.tasks t on t.name = b.body ->> 'task'
$function$;
