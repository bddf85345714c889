-- Turns the items of enqueue_many into one row for each job, in order, with the job's defaults and its unique key. Leaves out the jobs
-- whose places are true in `left_out`.
-- If a job is throttled or debounced, its key is stored in idempotency_keys and not as its unique key. For such a job, `unique_key` is
-- null, and `held_key` is the key.
-- The rows already have the types of the columns of jobs, so that a value that many jobs share is checked only once.
-- It has no settings of its own, so the server inlines it into the statement that calls it. So that statement computes only the columns
-- that it reads.
create or replace function pgqueue.job_items(jobs jsonb, left_out boolean[], moment timestamptz)
returns table (item integer, task pgqueue.task_name, args jsonb, queue pgqueue.queue_name, priority smallint, run_at timestamptz,
    max_attempts pgqueue.attempts, timeout interval, concurrency_key pgqueue.job_key, weight pgqueue.job_weight,
    ordering pgqueue.job_order, tags pgqueue.job_tags, meta pgqueue.job_meta, trace_context jsonb,
    expires_at timestamptz, deadline_at timestamptz, unique_key text, held_key text,
    on_conflict text, throttle float8, debounce float8, debounce_max float8, idempotency_key text, idempotency_ttl float8)
language sql
stable parallel safe
as $function$
    select i.item::integer, i.task, i.own_args, coalesce(i.queue, 'default'::pgqueue.queue_name), coalesce(i.priority, 0::smallint),
           i.due_at, coalesce(i.max_attempts, 6::pgqueue.attempts), pg_catalog.make_interval(secs => i.timeout), i.concurrency_key,
           i.weight, i.ordering, coalesce(i.tags, '{}'::pgqueue.job_tags), coalesce(i.meta, '{}'::pgqueue.job_meta), i.trace_context,
           case when i.expires is not null then pgqueue.option_time(i.expires, moment) end,
           case when i.deadline is not null then pgqueue.option_time(i.deadline, moment) end,
           case when i.throttle is null and i.debounce is null then u.unique_key end, u.unique_key,
           i.on_conflict, i.throttle, i.debounce, i.debounce_max, i.idempotency_key, i.idempotency_ttl
    from (
        select b.*, a.args as own_args, coalesce(a.key, b.unique_key) as own_key, b.before operator(pg_catalog.+) a.place as item,
               coalesce(b.run_at, moment operator(pg_catalog.+) pg_catalog.make_interval(
                   secs => greatest(b.delay, least(b.debounce, b.debounce_max), 0))) as due_at
        from (select r.*, coalesce(pg_catalog.sum(coalesce(pg_catalog.jsonb_array_length(r."each"), 1)) over (
                      order by r.place rows between unbounded preceding and 1 preceding), 0) as before
              from rows from (pg_catalog.jsonb_to_recordset(jobs) as (
                  task pgqueue.task_name, args jsonb, "each" jsonb, keys jsonb, queue pgqueue.queue_name, priority smallint,
                  run_at timestamptz, delay float8, max_attempts pgqueue.attempts, timeout float8, concurrency_key pgqueue.job_key,
                  weight pgqueue.job_weight, ordering pgqueue.job_order, tags pgqueue.job_tags, meta pgqueue.job_meta,
                  trace_context jsonb, expires jsonb, deadline jsonb,
                  unique_key text, "unique" jsonb, unique_for float8, on_conflict text, throttle float8, debounce float8,
                  debounce_max float8, idempotency_key text, idempotency_ttl float8)) with ordinality as r(
                  task, args, "each", keys, queue, priority, run_at, delay,
                  max_attempts, timeout, concurrency_key, weight, ordering, tags, meta, trace_context, expires, deadline,
                  unique_key, "unique", unique_for, on_conflict, throttle, debounce,
                  debounce_max, idempotency_key, idempotency_ttl, place)) b
        cross join lateral rows from (
            pg_catalog.jsonb_array_elements(coalesce(b."each", pg_catalog.jsonb_build_array(coalesce(b.args, '{}')))),
            pg_catalog.jsonb_array_elements_text(b.keys)) with ordinality as a(args, key, place)
    ) i
    cross join lateral pgqueue.unique_key(i.own_args, i."unique", i.own_key, i.unique_for, i.due_at) u
    where left_out is null or not left_out[i.item]
$function$;
