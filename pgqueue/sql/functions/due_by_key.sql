-- The due jobs of a lane that its next claim may take by turns: keys in order from the one after `after` on, each with its part of `count`,
-- which is equal but for those with a share of their own (limits.share). A key is a concurrency_key; that of a parked job (park.sql) is
-- E'\x01' and its task. Only for claim_limited.sql, which knows the `limits` of the lane and of which tasks nothing is free (`full_up`).
-- A claim that ends within a key's share tells it by chance, so that in the mean the key gets all of it before the turn is the next one's.
-- Keys of which nothing is free are passed over at the cost of a look at their seat, as are paused ones (pauses).
-- Order: of jobs with an `ordering` only the first unfinished one of its key is due, and none while a dead one blocks.
-- Locks the jobs that it returns, skipping locked ones. Expects jobs_live_key_idx, jobs_live_order_idx and seats_pkey.
create or replace function pgqueue.due_by_key(tasks text[], queue text, priority smallint, after text, count integer, limits integer[], full_up text[])
returns table (id bigint, turn text, key text, task text, weight integer)
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
    paused   constant boolean := exists (select from pgqueue.pauses p where p.until > moment);
    shared   constant boolean := exists (select from pgqueue.limits l where l.share is not null);
    by_task  constant integer[] := array(select l.id from pgqueue.limits l where l.id = any(limits) and l.per_key and l.task is not null);
    passed   constant text[] := array(select E'\x01' || t.task from (
        select unnest(full_up) as task union all select p.task from pgqueue.pauses p where p.key = '' and p.until > moment) t);
    turns    text[];
    shares   integer[];
    total    integer;
begin
    with recursive ahead as (
        (select coalesce(j.concurrency_key, E'\x01' || j.task) as turn from pgqueue.jobs_live j
         where j.queue = due_by_key.queue and j.priority = due_by_key.priority and j.state in ('pending', 'retrying')
           and (j.concurrency_key is not null or j.parked) and coalesce(j.concurrency_key, E'\x01' || j.task) > after
         order by coalesce(j.concurrency_key, E'\x01' || j.task) limit 1)
        union all
        select (select coalesce(j.concurrency_key, E'\x01' || j.task) from pgqueue.jobs_live j
                where j.queue = due_by_key.queue and j.priority = due_by_key.priority and j.state in ('pending', 'retrying')
                  and (j.concurrency_key is not null or j.parked) and coalesce(j.concurrency_key, E'\x01' || j.task) > a.turn
                order by coalesce(j.concurrency_key, E'\x01' || j.task) limit 1)
        from ahead a where a.turn is not null
    ), behind as (
        (select coalesce(j.concurrency_key, E'\x01' || j.task) as turn from pgqueue.jobs_live j
         where j.queue = due_by_key.queue and j.priority = due_by_key.priority and j.state in ('pending', 'retrying')
           and (j.concurrency_key is not null or j.parked) and coalesce(j.concurrency_key, E'\x01' || j.task) <= after
         order by coalesce(j.concurrency_key, E'\x01' || j.task) limit 1)
        union all
        select (select coalesce(j.concurrency_key, E'\x01' || j.task) from pgqueue.jobs_live j
                where j.queue = due_by_key.queue and j.priority = due_by_key.priority and j.state in ('pending', 'retrying')
                  and (j.concurrency_key is not null or j.parked) and coalesce(j.concurrency_key, E'\x01' || j.task) > b.turn
                  and coalesce(j.concurrency_key, E'\x01' || j.task) <= after
                order by coalesce(j.concurrency_key, E'\x01' || j.task) limit 1)
        from behind b where b.turn is not null
    )
    select array_agg(k.turn),
           case when shared then array_agg(coalesce((
               select l.share from pgqueue.limits l
               where l.share is not null and l.key = k.turn and (l.queue is null or l.queue = due_by_key.queue)
               order by l.queue nulls last limit 1), 1)) end
    into turns, shares
    from (
        select r.turn from (select a.turn from ahead a union all select b.turn from behind b) r
        where r.turn is not null and r.turn <> all(passed)
          and (not paused or not exists (select from pgqueue.pauses p where p.task = '' and p.key = r.turn and p.until > moment))
          and (limits is null or not exists (
              select from unnest(limits) u (id)
              join pgqueue.limits l on l.id = u.id and l.per_key and l.task is null and (l.key is null or l.key = r.turn)
              join pgqueue.seats s on s.limit_id = l.id and s.key = r.turn
              where pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at)))
          and exists (
              select from pgqueue.jobs_live j
              where j.queue = due_by_key.queue and j.priority = due_by_key.priority and j.state in ('pending', 'retrying')
                and (j.concurrency_key is not null or j.parked) and coalesce(j.concurrency_key, E'\x01' || j.task) = r.turn
                and j.run_at <= moment and j.task = any(tasks)
                and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false
                and (cardinality(by_task) = 0 or not exists (
                  select from unnest(by_task) u (id)
                  join pgqueue.limits b on b.id = u.id and b.task = j.task and (b.key is null or b.key = r.turn)
                  join pgqueue.seats s on s.limit_id = b.id and s.key = r.turn
                  where pgqueue.is_full(s.taken, s.wanted, b.concurrency, s.free_at))))
        limit due_by_key.count
    ) k;
    total := case when shares is null then cardinality(turns) else (select sum(s) from unnest(shares) s) end;

    return query
        select c.id, case when c.share > 1 and c.place = max(c.place) over () and random() * c.share > count(*) over (partition by c.place)
                          then coalesce(turns[c.place - 1], after) else c.turn end, c.key, c.task, c.weight
        from (
        select d.id, k.turn, k.share, k.place, d.key, d.task, d.weight, d.run_at
        from unnest(turns, shares) with ordinality as k(turn, share, place)
        cross join lateral (
            select l.id, l.run_at, coalesce(l.concurrency_key::text, '') as key, l.task::text as task, coalesce(l.weight, 1)::integer as weight
            from pgqueue.jobs_live l
            where l.queue = due_by_key.queue and l.priority = due_by_key.priority and l.state in ('pending', 'retrying')
              and (l.concurrency_key is not null or l.parked) and coalesce(l.concurrency_key, E'\x01' || l.task) = k.turn
              and l.run_at <= moment and l.task = any(tasks)
              and not l.cancel_requested and (least(l.expires_at, l.deadline_at) > moment) is not false
              and (cardinality(by_task) = 0 or not exists (
                  select from unnest(by_task) u (id)
                  join pgqueue.limits b on b.id = u.id and b.task = l.task and (b.key is null or b.key = k.turn)
                  join pgqueue.seats s on s.limit_id = b.id and s.key = k.turn
                  where pgqueue.is_full(s.taken, s.wanted, b.concurrency, s.free_at)))
              and (l.ordering is null or (
                  not exists (select from pgqueue.jobs_live o
                              where o.queue = due_by_key.queue and o.concurrency_key = k.turn and o.ordering is not null
                                and o.id < l.id)
                  and not exists (select from pgqueue.jobs_dead d
                                  where d.queue = due_by_key.queue and d.concurrency_key = k.turn and d.ordering = 'block'
                                    and d.id < l.id)))
            order by l.run_at, l.id
            limit greatest(coalesce(k.share, 1), (due_by_key.count * coalesce(k.share, 1) + total - 1) / total)
            for update skip locked
        ) d
        order by k.place
        limit due_by_key.count
        ) c
        order by c.place, c.run_at, c.id;
end
$function$;
