-- Inserts the jobs that enqueue_many has checked, with the given `ids`, and wakes workers. Leaves out the jobs whose places are true in
-- `left_out`.
-- Returns the places of jobs whose unique key an unfinished job already has, with the id and the state of that other job, the holder; null
-- if there is no such place.
-- `how` is one of:
--   quick: skips a job if it sees that another job has its key. If another transaction is taking the same key at this moment, fails with
--     unique_violation. It costs three quarters of what the other two cost.
--   ordered (for several jobs with keys) and alone (for at most one job with a key): wait for that other transaction.
-- A holder can end before its row is read here, or it can be overdue and not finished yet. In both cases its key is free, and the job is
-- stored after all.
-- But this would take keys out of key order, which could cause a deadlock. So quick and ordered raise PQ000 instead, and the caller undoes
-- the insert and calls the function again with another `how`. With alone there is only one key, so the function tries again by itself.
-- Locks unique keys, in key order. Waits for another transaction only if that transaction inserts, claims or settles a job with the same
-- key.
create or replace function pgqueue.insert_jobs(jobs jsonb, ids bigint[], left_out boolean[], moment timestamptz, how text,
    out places integer[], out holders bigint[], out states text[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off  -- keys are found by jobs_live_unique_key, even if the statistics are stale
set enable_hashjoin = off
set enable_mergejoin = off
set enable_memoize = off  -- each key is searched once, so a cache of results is useless
as $function$
#variable_conflict use_column
declare
    missing integer := cardinality(ids) - coalesce(cardinality(array_positions(left_out, true)), 0);
    again   boolean := false;
    rounds  integer := 0;
    stored  integer;
    over    bigint[];
begin
    if missing = 0 then
        return;
    end if;
    loop
        if how = 'quick' then
            insert into pgqueue.jobs_live
                (id, task, args, queue, priority, created_at, run_at, max_attempts, timeout,
                 unique_key, concurrency_key, weight, ordering, tags, meta, trace_context, expires_at, deadline_at)
            select ids[w.item], w.task, w.args, w.queue, w.priority, moment, w.run_at, w.max_attempts, w.timeout,
                   w.unique_key, w.concurrency_key, w.weight, w.ordering, w.tags, w.meta, w.trace_context, w.expires_at, w.deadline_at
            from (
                select i.*, row_number() over (
                    partition by i.task collate "C", i.unique_key collate "C" order by i.item) as n
                from pgqueue.job_items(jobs, left_out, moment) i
            ) w
            where (w.n = 1 or w.unique_key is null)
              and not exists (
                  -- offset 0 makes this one index probe for each job; with stale statistics, a join reads the whole index each time
                  select from pgqueue.jobs_live j where j.task = w.task and j.unique_key = w.unique_key offset 0)
            order by w.task collate "C", w.unique_key collate "C", w.item;
            get diagnostics stored = row_count;
            if stored > 0 then
                perform pgqueue.wake(q.queue)
                from (select distinct coalesce(b.queue, 'default') as queue
                      from jsonb_to_recordset(jobs) as b(
                          queue text, run_at timestamptz, delay float8, debounce float8, debounce_max float8, wake boolean)
                      where b.wake is not false and coalesce(b.run_at - moment, make_interval(
                          secs => greatest(b.delay, least(b.debounce, b.debounce_max)))) > interval '1 second' is not true) q;
            end if;
        else
            with inserted as (
                insert into pgqueue.jobs_live as j
                    (id, task, args, queue, priority, created_at, run_at, max_attempts, timeout,
                     unique_key, concurrency_key, weight, ordering, tags, meta, trace_context, expires_at, deadline_at)
                select ids[w.item], w.task, w.args, w.queue, w.priority, moment, w.run_at, w.max_attempts, w.timeout,
                       w.unique_key, w.concurrency_key, w.weight, w.ordering, w.tags, w.meta, w.trace_context, w.expires_at, w.deadline_at
                from pgqueue.job_items(jobs, left_out, moment) w
                where not again or w.unique_key is not null
                order by w.task collate "C", w.unique_key collate "C", w.item
                on conflict (task, unique_key) where unique_key is not null do nothing
                returning j.queue, j.run_at
            ), woken as (
                select pgqueue.wake(q.queue)
                from (select distinct i.queue from inserted i where i.run_at <= moment + interval '1 second') q
                where not exists (select from jsonb_array_elements(jobs) b (body) where b.body ? 'wake')
                      or exists (select from jsonb_to_recordset(jobs) as b(queue text, wake boolean)
                                 where b.wake is not false and coalesce(b.queue, 'default') = q.queue)
            )
            select (select count(*) from inserted) + 0 * (select count(*) from woken) into stored;
        end if;
        missing := missing - stored;
        exit when missing = 0;
        -- The jobs that were not stored are duplicates. This new statement sees which other jobs have their keys, unless such a job has
        -- just ended.
        select array_agg(i.item), array_agg(h.id), array_agg(h.state), array_agg(h.id) filter (where h.is_over)
        into places, holders, states, over
        from pgqueue.job_items(jobs, left_out, moment) i
        cross join lateral (
            select j.id, j.state,
                   pgqueue.is_overdue(j.state, j.expires_at, j.deadline_at, j.cancel_requested, moment) as is_over
            from pgqueue.jobs_live j
            where j.task = i.task and j.unique_key = i.unique_key and j.id <> ids[i.item] offset 0) h;
        exit when cardinality(places) = missing and over is null;
        if how <> 'alone' then
            raise exception using errcode = 'PQ000', message = 'pgqueue: a key became free, out of order';
        end if;
        rounds := rounds + 1;
        if rounds >= 100 then  -- it is not credible that the key became free and was taken again 100 times
            raise insufficient_privilege using
                message = 'pgqueue: a unique key is held by a job that row level security hides from this role, or does not let this role end',
                hint = 'a policy for reading jobs_live must show each job to all roles that are allowed to use the task of the job';
        end if;
        perform pgqueue.finish_overdue(over, moment);
        places := null;
        holders := null;
        states := null;
        again := true;
    end loop;
end
$function$;
