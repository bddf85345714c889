-- Inserts jobs that enqueue_many has looked at, all but those `left_out` by their place, under `ids`, and wakes workers.
-- Returns the places whose unique key an unfinished job holds, with that job; null if there is none.
-- Locks: unique keys, in key order. Waits for another transaction only where that one inserts or ends a job of the same key.
-- A holder may end before it can be named: then its key is free, and the job is stored after all. That takes a key out of
--   order, so with `alone` false (several jobs have keys) PQ000 asks the caller to undo this and call again.
create or replace function pgqueue.insert_jobs(jobs jsonb, ids bigint[], left_out boolean[], moment timestamptz, alone boolean,
    out places integer[], out holders bigint[], out states text[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
#variable_conflict use_column
declare
    missing integer := cardinality(ids) - cardinality(array_positions(left_out, true));
    again   boolean := false;
    stored  integer;
begin
    missing := coalesce(missing, cardinality(ids));
    if missing = 0 then
        return;
    end if;
    loop
        with batch as (
            select b.task, coalesce(b."each", jsonb_build_array(coalesce(b.args, '{}'))) as args,
                   coalesce(b.queue, 'default') as queue, coalesce(b.priority, 0) as priority,
                   coalesce(b.run_at, moment + make_interval(
                       secs => greatest(b.delay, least(b.debounce, b.debounce_max), 0))) as run_at,
                   coalesce(b.max_attempts, 6) as max_attempts, make_interval(secs => b.timeout) as timeout, b.concurrency_key,
                   coalesce(b.tags, '{}') as tags, coalesce(b.meta, '{}') as meta, b.trace_context, b.place,
                   b.unique_key, b."unique", b.unique_for, b.throttle is null and b.debounce is null as is_unique
            from rows from (jsonb_to_recordset(jobs) as (
                task text, args jsonb, "each" jsonb, queue text, priority smallint, run_at timestamptz, delay float8,
                max_attempts smallint, timeout float8, concurrency_key text, tags text[], meta jsonb, trace_context jsonb,
                unique_key text, "unique" jsonb, unique_for float8, throttle float8, debounce float8, debounce_max float8))
                with ordinality as b(
                task, args, "each", queue, priority, run_at, delay,
                max_attempts, timeout, concurrency_key, tags, meta, trace_context,
                unique_key, "unique", unique_for, throttle, debounce, debounce_max, place)
        ), item as (
            select b.*, a.args as own_args, row_number() over (order by b.place, a.place) as item
            from batch b cross join lateral jsonb_array_elements(b.args) with ordinality as a(args, place)
        ), wanted as (
            select ids[i.item] as id, i.*, u.unique_key as key
            from item i
            left join lateral pgqueue.unique_key(i.own_args, i."unique", i.unique_key, i.unique_for, i.run_at) u on i.is_unique
            where (left_out is null or not left_out[i.item]) and (not again or u.unique_key is not null)
        ), inserted as (
            insert into pgqueue.jobs_live as j
                (id, task, args, queue, priority, created_at, run_at, max_attempts, timeout,
                 unique_key, concurrency_key, tags, meta, trace_context)
            select w.id, w.task, w.own_args, w.queue, w.priority, moment, w.run_at, w.max_attempts, w.timeout,
                   w.key, w.concurrency_key, w.tags, w.meta, w.trace_context
            from wanted w
            order by w.task collate "C", w.key collate "C", w.item
            on conflict (task, unique_key) where unique_key is not null do nothing
            returning j.queue, j.run_at
        ), woken as (
            select pgqueue.wake(q.queue)
            from (select distinct i.queue from inserted i where i.run_at <= moment + interval '1 second') q
        )
        select (select count(*) from inserted) + 0 * (select count(*) from woken) into stored;

        missing := missing - stored;
        exit when missing = 0;
        -- The rest are duplicates. A new statement sees who holds their keys, unless that job has just ended.
        select array_agg(i.item::int), array_agg(j.id), array_agg(j.state) into places, holders, states
        from (
            select b.task, b."unique", b.unique_key, b.unique_for, a.args,
                   coalesce(b.run_at, moment + make_interval(secs => greatest(b.delay, 0))) as run_at,
                   row_number() over (order by b.place, a.place) as item, b.throttle is null and b.debounce is null as is_unique
            from rows from (jsonb_to_recordset(jobs) as (
                task text, args jsonb, "each" jsonb, run_at timestamptz, delay float8, unique_key text, "unique" jsonb,
                unique_for float8, throttle float8, debounce float8)) with ordinality as b(
                task, args, "each", run_at, delay, unique_key, "unique", unique_for, throttle, debounce, place)
            cross join lateral jsonb_array_elements(coalesce(b."each", jsonb_build_array(coalesce(b.args, '{}'))))
                with ordinality as a(args, place)
        ) i
        cross join lateral pgqueue.unique_key(i.args, i."unique", i.unique_key, i.unique_for, i.run_at) u
        cross join lateral (
            select j.id, j.state from pgqueue.jobs_live j where j.task = i.task and j.unique_key = u.unique_key limit 1) j
        where i.is_unique and (left_out is null or not left_out[i.item]) and j.id <> ids[i.item];
        exit when cardinality(places) = missing;
        if not alone then
            raise exception using errcode = 'PQ000', message = 'pgqueue: a key became free, out of order';
        end if;
        again := true;
    end loop;
end
$function$;
