-- Claims from one lane (a queue and a priority) whose jobs are under limits or carry a concurrency_key: marks up to `count` due jobs
-- running under this worker and returns them as claim.sql does.
-- A function, for it needs a second look after it has locked: what it then counts is exact, and no limit is ever overshot.
-- `after` null: jobs without a key, in order of run_at. Else those with one: keys take turns, from the one after `after` on, each with an
-- equal part of `count`, so that the backlog of one key delays no other.
-- Order: of jobs with an `ordering` only the first unfinished one of its key runs, and none while a dead one blocks.
-- Locks: the jobs, skipping locked ones; then the seats, in the order of (limit_id, key), as release() does.
-- Expects jobs_live_claim_idx or jobs_live_key_idx, and seats_pkey. Zero rows: nothing is due, or nothing is free.
create or replace function pgqueue.claim_limited(worker bigint, tasks text[], queue text, priority smallint, after text, count integer)
returns table (id bigint, lease_id bigint, queue_of text, priority_of smallint, task text, args text, attempt smallint,
    max_attempts smallint, crash_count smallint, timeout float8, run_at float8, created_at float8, trace_context text, extra text, key text)
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
    moment   timestamptz := clock_timestamp();
    keys     text[];
    ids      bigint[];
    seat_of  text[];     -- the job's concurrency_key, or ''
    task_of  text[];
    weights  integer[];
    full_up  text[];     -- tasks of which nothing is free
    limits   integer[];  -- that concern this lane
    by_task  integer[];  -- those of them that are by key and for one task
begin
    if not exists (select from pgqueue.workers w where w.id = worker and w.expires_at > moment)
       or exists (select from pgqueue.queues q where q.name = claim_limited.queue and q.paused) then
        return;
    end if;
    select array_agg(l.id) into limits
    from pgqueue.limits l
    where (l.queue is null or l.queue = claim_limited.queue) and (after is not null or not l.per_key);

    select array_agg(l.id) into by_task from pgqueue.limits l where l.id = any(limits) and l.per_key and l.task is not null;

    -- What is full at a first look is left out of the choice, or it would fill it.
    if limits is not null then
        if exists (select from pgqueue.limits l join pgqueue.seats s on s.limit_id = l.id and s.key = ''
                   where l.id = any(limits) and not l.per_key and l.task is null
                     and pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at)) then
            return;
        end if;
        select array_agg(l.task::text) into full_up
        from pgqueue.limits l join pgqueue.seats s on s.limit_id = l.id and s.key = ''
        where l.id = any(limits) and not l.per_key and l.task is not null
          and pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at);
        if full_up is not null then
            tasks := array(select t from unnest(tasks) t where t <> all(full_up));
        end if;
    end if;

    if after is null then
        select array_agg(c.id), array_agg(''::text), array_agg(c.task), array_agg(c.weight)
        into ids, seat_of, task_of, weights
        from (
            select j.id, j.task::text as task, coalesce(j.weight, 1)::integer as weight
            from pgqueue.jobs_live j
            where j.queue = claim_limited.queue and j.priority = claim_limited.priority and j.state in ('pending', 'retrying')
              and j.concurrency_key is null and j.run_at <= moment and j.task = any(tasks)
              and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false
            order by j.run_at, j.id
            limit claim_limited.count
            for update skip locked
        ) c;
    else
        with recursive ahead as (
            (select j.concurrency_key::text as key from pgqueue.jobs_live j
             where j.queue = claim_limited.queue and j.priority = claim_limited.priority and j.state in ('pending', 'retrying')
               and j.concurrency_key > after
             order by j.concurrency_key limit 1)
            union all
            select (select j.concurrency_key::text from pgqueue.jobs_live j
                    where j.queue = claim_limited.queue and j.priority = claim_limited.priority and j.state in ('pending', 'retrying')
                      and j.concurrency_key > a.key
                    order by j.concurrency_key limit 1)
            from ahead a where a.key is not null
        ), behind as (
            (select j.concurrency_key::text as key from pgqueue.jobs_live j
             where j.queue = claim_limited.queue and j.priority = claim_limited.priority and j.state in ('pending', 'retrying')
               and j.concurrency_key > '' and j.concurrency_key <= after
             order by j.concurrency_key limit 1)
            union all
            select (select j.concurrency_key::text from pgqueue.jobs_live j
                    where j.queue = claim_limited.queue and j.priority = claim_limited.priority and j.state in ('pending', 'retrying')
                      and j.concurrency_key > b.key and j.concurrency_key <= after
                    order by j.concurrency_key limit 1)
            from behind b where b.key is not null
        )
        select array_agg(k.key) into keys from (
            select r.key from (select a.key from ahead a union all select b.key from behind b) r
            where r.key is not null
              and not exists (
                  select from unnest(limits) u (id)
                  join pgqueue.limits l on l.id = u.id and l.per_key and l.task is null and (l.key is null or l.key = r.key)
                  join pgqueue.seats s on s.limit_id = l.id and s.key = r.key
                  where pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at))
              and exists (
                  select from pgqueue.jobs_live j
                  where j.queue = claim_limited.queue and j.priority = claim_limited.priority and j.state in ('pending', 'retrying')
                    and j.concurrency_key = r.key and j.run_at <= moment and j.task = any(tasks)
                    and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false
                    and (by_task is null or not exists (
                      select from unnest(by_task) u (id)
                      join pgqueue.limits b on b.id = u.id and b.task = j.task and (b.key is null or b.key = r.key)
                      join pgqueue.seats s on s.limit_id = b.id and s.key = r.key
                      where pgqueue.is_full(s.taken, s.wanted, b.concurrency, s.free_at))))
            limit claim_limited.count
        ) k;
        if keys is null then
            return;
        end if;
        select array_agg(c.id), array_agg(c.key), array_agg(c.task), array_agg(c.weight)
        into ids, seat_of, task_of, weights
        from (
            select j.id, k.key, j.task, j.weight
            from unnest(keys) with ordinality as k(key, place)
            cross join lateral (
                select l.id, l.task::text as task, coalesce(l.weight, 1)::integer as weight
                from pgqueue.jobs_live l
                where l.queue = claim_limited.queue and l.priority = claim_limited.priority and l.state in ('pending', 'retrying')
                  and l.concurrency_key = k.key and l.run_at <= moment and l.task = any(tasks)
                  and not l.cancel_requested and (least(l.expires_at, l.deadline_at) > moment) is not false
                  and (by_task is null or not exists (
                      select from unnest(by_task) u (id)
                      join pgqueue.limits b on b.id = u.id and b.task = l.task and (b.key is null or b.key = k.key)
                      join pgqueue.seats s on s.limit_id = b.id and s.key = k.key
                      where pgqueue.is_full(s.taken, s.wanted, b.concurrency, s.free_at)))
                  and (l.ordering is null or (
                      not exists (select from pgqueue.jobs_live o
                                  where o.queue = claim_limited.queue and o.concurrency_key = k.key and o.ordering is not null
                                    and o.id < l.id)
                      and not exists (select from pgqueue.jobs_dead d
                                      where d.queue = claim_limited.queue and d.concurrency_key = k.key and d.ordering = 'block'
                                        and d.id < l.id)))
                order by l.run_at, l.id
                limit (claim_limited.count + cardinality(keys) - 1) / cardinality(keys)
                for update skip locked
            ) j
            order by k.place
            limit claim_limited.count
        ) c;
    end if;
    if ids is null then
        return;
    end if;

    return query
        update pgqueue.jobs_live j
        set state = 'running', attempt = j.attempt + 1, lease_id = j.lease_id + 1, worker_id = worker,
            started_at = clock_timestamp(), holds = s.holds
        from pgqueue.seat(coalesce(limits, '{}'), ids, seat_of, task_of, weights) s
        where j.id = s.id
        returning j.id, j.lease_id, j.queue::text, j.priority, j.task::text, j.args::text, j.attempt, j.max_attempts::smallint, j.crash_count,
            date_part('epoch', j.timeout::interval), date_part('epoch', j.run_at::timestamptz), date_part('epoch', j.created_at::timestamptz),
            j.trace_context::text,
            case when j.expires_at is not null or j.deadline_at is not null or j.progress is not null
                 then json_build_object('expires', date_part('epoch', j.expires_at - clock_timestamp()),
                                        'deadline', date_part('epoch', j.deadline_at - clock_timestamp()),
                                        'progress', j.progress::text)::text end,
            j.concurrency_key::text;
end
$function$;
