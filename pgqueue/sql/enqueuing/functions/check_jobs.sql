-- Checks the options of jobs before anything is stored. If an option is unknown or cannot be combined with another option, raises the error
-- PQ404 with a sentence for people. Does not check the types and ranges of values, because the tables do that. enqueue_many calls this
-- function.
-- Locks nothing.
-- Returns facts about all these jobs together. `size` is the number of jobs, and `uniques` is how many of them can have a unique key. Each
-- of the other columns is true if at least one job:
--   has an idempotency_key, a throttle or a debounce (`keyed`);
--   has on_conflict = replace (`replacing`), or on_conflict = raise (`raising`);
--   gets the options that it leaves out from the declaration of its task (`undeclared`).
create or replace function pgqueue.check_jobs(jobs jsonb, out size integer, out uniques integer, out keyed boolean,
    out replacing boolean, out raising boolean, out undeclared boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
declare
    known     constant text[] := array[
        'task', 'args', 'each', 'keys', 'queue', 'priority', 'run_at', 'delay', 'max_attempts', 'timeout', 'unique_key', 'unique',
        'unique_for', 'on_conflict', 'throttle', 'debounce', 'debounce_max', 'idempotency_key', 'idempotency_keys', 'idempotency_ttl',
        'concurrency_key', 'weight', 'ordering', 'tags', 'meta', 'trace_context', 'expires', 'deadline', 'wake', 'declared'];
    wrong     boolean;
    ruled     boolean;
    debounced boolean;
    bad       record;
begin
    select coalesce(sum(case when b.body ? 'each' then jsonb_array_length(b.body -> 'each') else 1 end), 0),
           coalesce(sum(case when b.body ? 'each' then jsonb_array_length(b.body -> 'each') else 1 end)
                    filter (where b.body ?| array['unique', 'unique_key', 'keys']), 0),
           coalesce(bool_or(b.body ?| array['idempotency_key', 'idempotency_keys', 'throttle', 'debounce']), false),
           coalesce(bool_or(b.body ->> 'on_conflict' = 'replace'), false),
           coalesce(bool_or(b.body ->> 'on_conflict' = 'raise'), false),
           coalesce(bool_or(not b.body ? 'declared'), false),
           bool_or(b.body ? 'debounce'),
           bool_or(b.body ?| array['unique', 'unique_for', 'on_conflict', 'throttle', 'debounce', 'debounce_max', 'idempotency_keys', 'idempotency_ttl']),
           bool_or(b.body ->> 'task' is null or pgqueue.is_reserved(b.body ->> 'task') or b.body - known <> '{}' or b.body ?& array['args', 'each']
                   or (b.body ->> 'ordering' is not null and b.body ->> 'concurrency_key' is null)
                   or b.body ? 'keys' and (jsonb_array_length(b.body -> 'keys') = jsonb_array_length(b.body -> 'each')
                                           and not b.body ?| array['unique', 'unique_key']) is not true
                   or b.body ? 'idempotency_keys'
                      and (jsonb_array_length(b.body -> 'idempotency_keys') = jsonb_array_length(b.body -> 'each')
                           and not b.body ? 'idempotency_key') is not true)
    into size, uniques, keyed, replacing, raising, undeclared, debounced, ruled, wrong
    from jsonb_array_elements(jobs) b (body);

    if wrong then
        select i.place, i.body ->> 'task' as task, i.body - known as unknown, i.body ?& array['args', 'each'] as both,
               i.body ? 'keys' and (jsonb_array_length(i.body -> 'keys') = jsonb_array_length(i.body -> 'each')
                                    and not i.body ?| array['unique', 'unique_key']) is not true as keys,
               i.body ? 'idempotency_keys'
                   and (jsonb_array_length(i.body -> 'idempotency_keys') = jsonb_array_length(i.body -> 'each')
                        and not i.body ? 'idempotency_key') is not true as idempotency_keys
        into bad
        from jsonb_array_elements(jobs) with ordinality as i(body, place)
        where i.body ->> 'task' is null or pgqueue.is_reserved(i.body ->> 'task') or i.body - known <> '{}' or i.body ?& array['args', 'each']
              or (i.body ->> 'ordering' is not null and i.body ->> 'concurrency_key' is null)
              or i.body ? 'keys' and (jsonb_array_length(i.body -> 'keys') = jsonb_array_length(i.body -> 'each')
                                      and not i.body ?| array['unique', 'unique_key']) is not true
              or i.body ? 'idempotency_keys'
                 and (jsonb_array_length(i.body -> 'idempotency_keys') = jsonb_array_length(i.body -> 'each')
                      and not i.body ? 'idempotency_key') is not true
        order by i.place limit 1;
        raise exception using errcode = 'PQ404',
            message = case when bad.task is null then format('pgqueue: item %s has no task', bad.place)
                           when pgqueue.is_reserved(bad.task) then format('pgqueue: the name %s is reserved', bad.task)
                           when bad.unknown <> '{}' then format('pgqueue: unknown option %s for task %s', bad.unknown, bad.task)
                           when bad.keys then format('pgqueue: item %s: keys must have as many elements as each, and unique_key must be left out', bad.place)
                           when bad.idempotency_keys
                               then format('pgqueue: item %s: idempotency_keys must have as many elements as each, and idempotency_key must be left out', bad.place)
                           when bad.both then format('pgqueue: item %s has both args and each', bad.place)
                           else format('pgqueue: item %s has an ordering without a concurrency_key', bad.place) end,
            hint = case when pgqueue.is_reserved(bad.task) then 'pgqueue uses names that begin with pgqueue. or contain :on_ for messages of alerts and for hooks' else
                   'options: queue, priority, run_at or delay, max_attempts, timeout, unique or unique_key, unique_for,'
                   ' on_conflict, throttle, debounce, debounce_max, idempotency_key, idempotency_ttl, concurrency_key,'
                   ' weight, ordering, tags, meta, trace_context, expires, deadline, wake' end;
    end if;
    if not ruled then
        return;
    end if;

    select c.place, c.complaint into bad
    from (
        select r.place, case
            when jsonb_typeof(r."unique") not in ('boolean', 'array') or r."unique" = '[]'
                 or jsonb_path_exists(r."unique", 'strict $[*] ? (@.type() != "string")', silent => true)
                then format('unique is %s: give true or a list of names of arguments', r."unique")
            when r.unique_key is not null and r."unique" <> 'false'
                then 'unique and unique_key are both given: give one of them'
            when r.on_conflict not in ('skip', 'replace', 'raise')
                then format('on_conflict is %s: give skip, replace or raise', r.on_conflict)
            when r.unique_key is null and r.keys is null and coalesce(r."unique", 'false') = 'false'
                 and num_nonnulls(r.on_conflict, r.unique_for, r.throttle, r.debounce, r.debounce_max) > 0
                then 'unique_for, on_conflict, throttle and debounce need a key: give unique or unique_key'
            when least(r.unique_for, r.throttle, r.debounce, r.debounce_max) <= 0
                 or greatest(r.unique_for, r.throttle, r.debounce, r.debounce_max) > 31536000
                then 'unique_for, throttle, debounce and debounce_max must be more than 0 seconds and at most a year'
            when r.debounce_max is not null and (r.debounce is null or r.debounce_max < r.debounce)
                then 'debounce_max needs a debounce that is not longer than debounce_max'
            when r.debounce is not null and num_nonnulls(r.run_at, r.delay) > 0
                then 'debounce sets run_at: leave out run_at and delay'
            when num_nonnulls(r.throttle, r.debounce, r.idempotency_key, r.idempotency_keys) > 1
                then 'throttle, debounce and idempotency_key exclude each other: give one of them'
            when r.idempotency_ttl is not null and num_nonnulls(r.idempotency_key, r.idempotency_keys) = 0
                then 'idempotency_ttl is given without an idempotency_key'
            when r.debounce is not null and r.on_conflict <> 'replace'
                then format('debounce always replaces the job, so on_conflict cannot be %s', r.on_conflict)
            when r.throttle is not null and r.on_conflict = 'replace'
                then 'throttle always keeps the first job, so on_conflict cannot be replace'
            when r.on_conflict = 'raise' and (replacing or debounced)
                then 'on_conflict = raise stores all or nothing, so no job of the same call can replace or debounce'
            end as complaint
        from rows from (jsonb_to_recordset(jobs) as (
                 run_at text, delay float8, keys jsonb, unique_key text, "unique" jsonb, unique_for float8,
                 on_conflict text, throttle float8, debounce float8, debounce_max float8, idempotency_key text,
                 idempotency_keys jsonb, idempotency_ttl text))
             with ordinality as r(run_at, delay, keys, unique_key, "unique", unique_for, on_conflict, throttle,
                                  debounce, debounce_max, idempotency_key, idempotency_keys, idempotency_ttl, place)
    ) c
    where c.complaint is not null
    order by c.place limit 1;
    if found then
        raise exception using errcode = 'PQ404', message = format('pgqueue: item %s: %s', bad.place, bad.complaint);
    end if;
end
$function$;
