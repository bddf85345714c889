-- Makes what an app's code declares of its tasks into rows, for jobs that are enqueued by SQL. `declared` is an array of objects: name,
-- options (as of enqueue_many) and keep.
-- Of several deploys that are alive at once, the one that was seen last for the first time is in force, task by task: a declaration
-- that another one has followed comes back when nobody has reported the other for `seconds` (a rollback).
-- Locks the rows that change, in the order of their names.
create or replace function pgqueue.sync_tasks(app text, declared jsonb, seconds float8)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $function$
    insert into pgqueue.tasks as t (name, app, options, keep, declared)
    select d.name, sync_tasks.app, d.options, d.keep, md5(concat(d.options, d.keep))
    from jsonb_to_recordset(sync_tasks.declared) as d (name text, options jsonb, keep text)
    order by d.name collate "C"
    on conflict (name) do update
    set app = excluded.app, options = excluded.options, keep = excluded.keep, declared = excluded.declared,
        seen_at = excluded.seen_at,
        since = case when t.declared = excluded.declared then t.since else excluded.since end,
        former = case when t.declared = excluded.declared then t.former
                      when excluded.declared = any(t.former) then array[t.declared]
                      else array_append(t.former[greatest(cardinality(t.former) - 8, 1):], t.declared) end
    where case when t.declared = excluded.declared then t.seen_at < clock_timestamp() - make_interval(secs => seconds / 5)
               else excluded.declared <> all(t.former) or t.seen_at < clock_timestamp() - make_interval(secs => seconds) end
$function$;
