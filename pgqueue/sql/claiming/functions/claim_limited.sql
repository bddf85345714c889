-- Claims from one lane (a queue and a priority) whose jobs are under limits or have a concurrency_key. Marks up to `count` due jobs running
-- under this worker, and returns them as claim.sql does. Each row also has the key whose turn it was, the row's own rank in the order of
-- turns, and `front`.
-- If `after` is null, claims jobs without a key, in the order of run_at. Otherwise claims jobs with a key, by turns, beginning with the key
-- that follows `after` (due_by_key.sql).
-- `since` and `front` are positions (run_at and id). The caller gives as `since` a position in front of which there was no job with a key.
-- `front` is the position of the first job with a key that this claim saw. The next claim can get this `front` as its `since`.
-- `tasks` also contains the versions that the worker accepts, as in claim.sql.
-- If `among` is an array of ids, only jobs with these ids are claimed, and only those of them that would also be claimed without `among`.
-- If `among` is an empty array, nothing is claimed, and the jobs that would be claimed are returned. If `among` is null, it has no effect.
-- It is a function and not one statement, because it locks the seats first and then counts them in a new statement. So its counts are
-- exact, and no limit is ever exceeded.
-- The worker's session commits claims asynchronously. But a claim that takes seats waits until its commit is on disk, before its jobs
-- begin. Otherwise a crash of the server could undo the claim and give the seat to another job while this job still runs.
-- Locks the jobs, skipping locked ones; then the seats, in the order of (limit_id, key), as give_back_seats() does.
-- Uses the indexes jobs_live_claim_idx or jobs_live_key_idx, jobs_live_due_idx, and seats_pkey.
-- Zero rows: no job is due, no seat is free, the queue is paused, or the lease of this worker has run out.
create or replace function pgqueue.claim_limited(worker bigint, tasks text[], queue text, priority smallint, after text, count integer, since text,
    among bigint[] default null)
returns table (id bigint, lease_id bigint, queue_of text, priority_of smallint, task text, args text, attempt smallint,
    max_attempts smallint, crash_count smallint, timeout float8, run_at float8, created_at float8, trace_context text, rare_fields text, concurrency_key text,
    turn text, rank integer, front text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    moment   constant timestamptz := clock_timestamp();
    ids      bigint[];
    turns    text[];
    keys     text[];     -- the job's concurrency_key, or ''
    task_of  text[];
    weights  integer[];
    orders   text[];     -- for a job with an ordering: its queue and its key
    full_up  text[];     -- tasks whose jobs cannot start: the task is paused, or its limit is used up
    limits   integer[];  -- the ids of the limits that apply to this lane
    after_at constant timestamptz := coalesce(split_part(since, '/', 1), '-infinity');
    after_id constant bigint := coalesce(split_part(since, '/', 2), '0');
    first    text;       -- the position of the first job with a key: run_at and id
begin
    if not exists (select from pgqueue.workers w where w.id = worker and w.expires_at > moment)
       or exists (select from pgqueue.queues q where q.name = claim_limited.queue and q.paused) then
        return;
    end if;
    select array_agg(l.id) into limits
    from pgqueue.limits l
    where (l.queue is null or l.queue = claim_limited.queue) and (after is not null or not l.per_key)
      and (l.concurrency is not null or l.rate is not null);

    -- First, this leaves out the tasks whose limit is used up. Otherwise their jobs would be chosen, but could not start.
    if limits is not null then
        if exists (select from pgqueue.limits l join pgqueue.seats s on s.limit_id = l.id and s.key = ''
                   where l.id = any(limits) and not l.per_key and l.task is null
                     and pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at, moment)) then
            return;
        end if;
        select array_agg(l.task::text) into full_up
        from pgqueue.limits l join pgqueue.seats s on s.limit_id = l.id and s.key = ''
        where l.id = any(limits) and not l.per_key and l.task is not null
          and pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at, moment);
    end if;
    if after is null then
        full_up := full_up || (select array_agg(p.task) from pgqueue.pauses p where p.key = '' and p.until > moment);
    end if;
    if full_up is not null then
        if after is null and pgqueue.park(queue, priority, tasks, full_up) then
            return;
        end if;
        tasks := array(select t from unnest(tasks) t where t <> all(full_up));
        if tasks = '{}' then
            return;
        end if;
    end if;

    if after is null then
        select array_agg(c.id), array_agg(''::text), array_agg(''::text), array_agg(c.task), array_agg(c.weight)
        into ids, turns, keys, task_of, weights
        from (
            select j.id, j.task::text as task, coalesce(j.weight, 1)::integer as weight
            from pgqueue.jobs_live j
            where j.queue = claim_limited.queue and j.priority = claim_limited.priority
              and --+ claim_idx j
              and j.task = any(tasks)
              and --+ may_start j
            order by j.run_at, j.id
            limit claim_limited.count
            for update skip locked
        ) c;
    else
        select array_agg(d.id), array_agg(d.turn), array_agg(d.key), array_agg(d.task), array_agg(d.weight), array_agg(d.ordered)
        into ids, turns, keys, task_of, weights, orders
        from pgqueue.due_by_key(tasks, queue, priority, after, count, limits, after_at, after_id) d;
    end if;
    if ids is null then
        return;
    end if;
    if among = '{}' then
        for n in 1 .. cardinality(ids) loop
            id := ids[n];
            turn := turns[n];
            rank := n;
            return next;
        end loop;
        return;
    elsif among is not null then
        select array_agg(u.id), array_agg(u.turn), array_agg(u.key), array_agg(u.task), array_agg(u.weight), array_agg(u.ordered)
        into ids, turns, keys, task_of, weights, orders
        from unnest(ids, turns, keys, task_of, weights, orders) u (id, turn, key, task, weight, ordered)
        where u.id = any(among);
        if ids is null then
            return;
        end if;
    end if;

    if after is not null then
        first := (select j.run_at || '/' || j.id from pgqueue.jobs_live j
                  where j.queue = claim_limited.queue and j.priority = claim_limited.priority
                    and --+ due_idx j
                    and (j.run_at, j.id) >= (after_at, after_id)
                  order by j.run_at, j.id limit 1);
    end if;
    return query
        update pgqueue.jobs_live j
        set
            --+ starting j,
            worker_id = worker, started_at = s.moment, seats_taken = s.seats_taken
        from pgqueue.take_seats(coalesce(limits, '{}'), ids, keys, task_of, weights, orders) s
        -- `offset 0` makes the planner find each row by jobs_live_id_key, even if the statistics are stale.
        cross join lateral (select l.ctid as spot from pgqueue.jobs_live l where l.id = s.id offset 0) l
        where j.ctid = l.spot
        returning
            --+ claimed j,
            turns[s.rank], s.rank, first;
    if found and (limits is not null or exists (select from unnest(orders) o(by) where o.by is not null)) then
        perform set_config('synchronous_commit', coalesce(nullif(current_setting('pgqueue.durable', true), ''), 'on'), true);
    end if;
end
$function$;
