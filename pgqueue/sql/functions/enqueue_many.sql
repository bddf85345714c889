-- Stores jobs in the caller's transaction: the one implementation of enqueuing, for Python and for SQL.
-- `jobs` is a JSON array of objects: task, and optionally args, queue, priority, run_at or delay (seconds),
--   max_attempts, timeout (seconds), unique_key, idempotency_key, idempotency_ttl (seconds, default 7 days),
--   concurrency_key, weight, ordering, tags, meta, trace_context, expires and deadline (each seconds from now, or a time as text).
-- Returns one row an item, in order. created = false names the job that holds the key in `conflict`:
--   unique_key, idempotency_key, or idempotency_mismatch (same key, other arguments: then nothing at all is stored).
-- A duplicate is a row, never an error, so it cannot abort the caller's transaction.
-- Locks: idempotency keys, then unique keys, each in key order, so that two batches cannot deadlock.
--   Waits for another transaction only where that one holds the same key. Never touches a row that all enqueuers share:
--   rows of pgqueue.queues are made by workers, not here.
create or replace function pgqueue.enqueue_many(jobs jsonb)
returns table (item integer, id bigint, created boolean, state text, conflict text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan  -- planning anew at each call costs ten times the insert
as $function$
#variable_conflict use_column
declare
    moment    timestamptz := clock_timestamp();
    size      integer := jsonb_array_length(jobs);
    new_ids   bigint[];
    found_ids bigint[];
    states    text[];
    conflicts text[];
    stored    bigint[];
    keyed     record;
    holder    record;
    unknown   record;
begin
    if size = 0 then
        return;
    end if;
    select e.place, e.task, e.keys into unknown
    from (select i.place, i.body ->> 'task' as task,
                 i.body - array['task', 'args', 'queue', 'priority', 'run_at', 'delay', 'max_attempts', 'timeout',
                                'unique_key', 'idempotency_key', 'idempotency_ttl', 'concurrency_key', 'weight', 'ordering', 'tags',
                                'meta', 'trace_context', 'expires', 'deadline'] as keys
          from jsonb_array_elements(jobs) with ordinality as i(body, place)) e
    where e.keys <> '{}' or e.task is null
    limit 1;
    if found then
        raise exception using errcode = 'PQ404',
            message = case when unknown.task is null then format('pgqueue: item %s names no task', unknown.place)
                           else format('pgqueue: unknown option %s for task %s', unknown.keys, unknown.task) end,
            hint = 'options: queue, priority, run_at or delay, max_attempts, timeout, unique_key, idempotency_key,'
                   ' idempotency_ttl, concurrency_key, weight, ordering, tags, meta, trace_context, expires, deadline';
    end if;

    select array_agg(nextval('pgqueue.jobs_id_seq') order by n) into new_ids from generate_series(1, size) n;
    found_ids := new_ids;
    states := array_fill('pending'::text, array[size]);
    conflicts := array_fill(null::text, array[size]);

    for keyed in
        select i.place::int as place, i.task, i.idempotency_key as key, coalesce(i.idempotency_ttl, 604800) as ttl,
               sha256(convert_to(coalesce(i.args, '{}')::text, 'UTF8')) as fingerprint
        from rows from (jsonb_to_recordset(jobs) as (task text, args jsonb, idempotency_key text, idempotency_ttl float8))
             with ordinality as i(task, args, idempotency_key, idempotency_ttl, place)
        where i.idempotency_key is not null
        order by i.task, i.idempotency_key, i.place
    loop
        loop
            insert into pgqueue.idempotency_keys as k (task, key, job_id, fingerprint, expires_at)
            values (keyed.task, keyed.key, new_ids[keyed.place], keyed.fingerprint, moment + make_interval(secs => keyed.ttl))
            on conflict (task, key) do update
                set job_id = excluded.job_id, fingerprint = excluded.fingerprint,
                    created_at = clock_timestamp(), expires_at = excluded.expires_at
                where k.expires_at <= clock_timestamp();
            exit when found;
            select k.job_id, k.fingerprint into holder
            from pgqueue.idempotency_keys k where k.task = keyed.task and k.key = keyed.key;
            if found then
                found_ids[keyed.place] := holder.job_id;
                states[keyed.place] := coalesce((select j.state from pgqueue.jobs j where j.id = holder.job_id limit 1), 'deleted');
                conflicts[keyed.place] := case when holder.fingerprint = keyed.fingerprint
                                               then 'idempotency_key' else 'idempotency_mismatch' end;
                exit;
            end if;
        end loop;
    end loop;

    if 'idempotency_mismatch' = any(conflicts) then
        delete from pgqueue.idempotency_keys k where k.job_id = any(new_ids);
        return query
            select m.place::int, m.id, false, case when m.conflict is not null then m.state end, m.conflict
            from unnest(found_ids, states, conflicts) with ordinality as m(id, state, conflict, place)
            order by m.place;
        return;
    end if;

    loop
        with wanted as (
            select i.*, new_ids[i.place] as id
            from rows from (jsonb_to_recordset(jobs) as (
                task text, args jsonb, queue text, priority smallint, run_at timestamptz, delay float8,
                max_attempts smallint, timeout float8, unique_key text, concurrency_key text, weight smallint, ordering text,
                tags text[], meta jsonb, trace_context jsonb, expires jsonb, deadline jsonb)) with ordinality
                as i(task, args, queue, priority, run_at, delay, max_attempts, timeout, unique_key, concurrency_key,
                     weight, ordering, tags, meta, trace_context, expires, deadline, place)
            where conflicts[i.place] is null and (stored is null or new_ids[i.place] <> all(stored))
        ), inserted as (
            insert into pgqueue.jobs_live as j
                (id, task, args, queue, priority, created_at, run_at, max_attempts, timeout,
                 unique_key, concurrency_key, weight, ordering, tags, meta, trace_context, expires_at, deadline_at)
            select w.id, w.task, coalesce(w.args, '{}'), coalesce(w.queue, 'default'), coalesce(w.priority, 0), moment,
                   coalesce(w.run_at, moment + make_interval(secs => greatest(w.delay, 0)), moment),
                   coalesce(w.max_attempts, 6), make_interval(secs => w.timeout),
                   w.unique_key, w.concurrency_key, w.weight, w.ordering, coalesce(w.tags, '{}'), coalesce(w.meta, '{}'), w.trace_context,
                   case when w.expires is not null then pgqueue.moment(w.expires, moment) end,
                   case when w.deadline is not null then pgqueue.moment(w.deadline, moment) end
            from wanted w
            order by w.task, w.unique_key, w.place
            on conflict (task, unique_key) where unique_key is not null do nothing
            returning j.id, j.queue, j.run_at
        ), woken as (
            select pgqueue.wake(q.queue)
            from (select distinct i.queue from inserted i where i.run_at <= moment + interval '1 second') q
        )
        select coalesce(stored, '{}') || coalesce(array_agg(i.id), '{}') into stored
        from inserted i, (select count(*) from woken) w;

        exit when cardinality(stored) = size;
        -- The rest are duplicates. A new statement sees the holder of the key, unless that one has just finished:
        -- then the key is free and the item is stored in the next round.
        for keyed in
            select i.place::int as place, j.id, j.state
            from rows from (jsonb_to_recordset(jobs) as (task text, unique_key text))
                 with ordinality as i(task, unique_key, place)
            join pgqueue.jobs_live j on j.task = i.task and j.unique_key = i.unique_key
            where conflicts[i.place] is null and new_ids[i.place] <> all(stored)
        loop
            found_ids[keyed.place] := keyed.id;
            states[keyed.place] := keyed.state;
            conflicts[keyed.place] := 'unique_key';
            update pgqueue.idempotency_keys k set job_id = keyed.id where k.job_id = new_ids[keyed.place];
        end loop;
        exit when cardinality(stored) + cardinality(array_remove(conflicts, null)) = size;
    end loop;

    return query
        select r.place::int, r.id, r.conflict is null, r.state, r.conflict
        from unnest(found_ids, states, conflicts) with ordinality as r(id, state, conflict, place)
        order by r.place;
end
$function$;
