-- The due jobs of a lane that its next claim may take by turns: of keys in order, from the one after `after` on, one each (a
-- large claim: up to four), times its share (share_of.sql). If there are too few keys to fill `count` so, a second look gives each a
-- larger part. A key is a concurrency_key; that of a parked job (park.sql) is E'\x01' and its task. Only for claim_limited.sql, which
-- knows the `limits` of the lane and of which tasks nothing is free (`full_up`).
-- A claim that ends within a key's share tells it by chance, so that in the mean the key gets all of it before the turn is the next one's.
-- Keys of which nothing is free are passed over at the cost of a look at their seat, as are paused ones (pauses).
-- Order: of jobs with an `ordering` only the first unfinished one of its key is due, and none while a dead one blocks.
-- Locks the jobs that it returns, skipping locked ones. Expects jobs_live_key_idx, jobs_live_order_idx and seats_pkey.
create or replace function pgqueue.due_by_key(tasks text[], queue text, priority smallint, after text, count integer, limits integer[], full_up text[])
returns table (id bigint, turn text, key text, task text, weight integer, ordered text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off  -- only jobs_live_key_idx has the order that is asked for, whatever the statistics say
set enable_incremental_sort = off
as $function$
#variable_conflict use_column
declare
    moment   constant timestamptz := clock_timestamp();
    paused   constant boolean := exists (select from pgqueue.pauses p where p.until > moment);
    shared   constant boolean := exists (select from pgqueue.limits l where l.share is not null);
    by_key   constant boolean := exists (select from pgqueue.limits l where l.id = any(limits) and l.per_key);
    by_task  constant integer[] := array(select l.id from pgqueue.limits l where l.id = any(limits) and l.per_key and l.task is not null);
    ordered  constant boolean := exists (select from pgqueue.jobs_live o
        where o.queue = due_by_key.queue and o.ordering is not null and o.concurrency_key is not null);
    -- A large claim takes a few of each key that it passes: half of its cost is finding the keys.
    base     constant integer := least(greatest(count / 100, 1), 4, (
        select min(l.concurrency) from pgqueue.limits l where l.id = any(limits) and l.per_key and l.concurrency > 0));
    passed   constant text[] := array(select E'\x01' || t.task from (
        select unnest(full_up) as task union all select p.task from pgqueue.pauses p where p.key = '' and p.until > moment) t);
    ids      bigint[];
    turn_of  text[];
    key_of   text[];
    task_of  text[];
    weights  integer[];
    orders   text[];
    turns    text[];     -- of the second look
    parts    integer[];
    had      integer;    -- of the last key
begin
    loop
        -- A loose scan: each step is a probe for the next key, from the one after `after` to the last, and from the first one to `after`.
        with recursive step (turn, is_key, wrapped) as (
            select after collate "C", false, false where turns is null
            union all
            select coalesce(n.turn, ''), n.turn is not null, s.wrapped or n.turn is null
            from step s
            cross join lateral (select (
                select coalesce(j.concurrency_key, E'\x01' || j.task) from pgqueue.jobs_live j
                where j.queue = due_by_key.queue and j.priority = due_by_key.priority
                  and j.state in ('pending', 'retrying') and (j.concurrency_key is not null or j.parked)
                  and coalesce(j.concurrency_key, E'\x01' || j.task) > s.turn
                order by coalesce(j.concurrency_key, E'\x01' || j.task) limit 1) as turn offset 0) n  -- a fence: else each use of it is a probe
            where not s.wrapped or n.turn <= after
        )
        select array_agg(c.id), array_agg(c.turn), array_agg(c.key), array_agg(c.task), array_agg(c.weight),
               array_agg(c.ordered)
        into ids, turn_of, key_of, task_of, weights, orders
        from (
            select d.id, r.turn, d.key, d.task, d.weight, d.ordered
            from (
                select k.turn, k.part, case when ordered then (
                           select case when o.queue = due_by_key.queue and o.concurrency_key = k.turn then o.id end
                           from (  -- in words that only jobs_live_order_idx can be searched by
                               select o.queue, o.concurrency_key, o.id from pgqueue.jobs_live o
                               where (o.queue, o.concurrency_key) >= (due_by_key.queue, k.turn)
                                 and o.ordering is not null and o.concurrency_key is not null
                               order by o.queue, o.concurrency_key, o.id limit 1) o) end as first
                from (
                    select s.turn, base * case when shared then pgqueue.share_of(s.turn, due_by_key.queue) else 1 end as part
                    from step s
                    where s.is_key and s.turn <> all(passed)
                      and (not paused or not exists (
                          select from pgqueue.pauses p where p.task = '' and p.key = s.turn and p.until > moment))
                      and (not by_key or not exists (
                          select from pgqueue.seats t join pgqueue.limits l on l.id = t.limit_id
                          where t.limit_id = any(limits) and t.key = s.turn and l.per_key and l.task is null
                            and (l.key is null or l.key = s.turn)
                            and pgqueue.is_full(t.taken, t.wanted, l.concurrency, t.free_at, moment)))
                    union all
                    select u.turn, u.part from unnest(turns, parts) u (turn, part)
                ) k
            ) r
            cross join lateral (
                select l.id, coalesce(l.concurrency_key::text, '') as key, l.task::text as task, coalesce(l.weight, 1)::integer as weight,
                       case when l.ordering is not null then l.queue || ' ' || l.concurrency_key end as ordered
                from pgqueue.jobs_live l
                where l.queue = due_by_key.queue and l.priority = due_by_key.priority and l.state in ('pending', 'retrying')
                  and (l.concurrency_key is not null or l.parked) and coalesce(l.concurrency_key, E'\x01' || l.task) = r.turn
                  and l.run_at <= moment and l.task = any(tasks)
                  and not l.cancel_requested and (least(l.expires_at, l.deadline_at) > moment) is not false
                  and (cardinality(by_task) = 0 or not exists (
                      select from unnest(by_task) u (id)
                      join pgqueue.limits b on b.id = u.id and b.task = l.task and (b.key is null or b.key = r.turn)
                      join pgqueue.seats s on s.limit_id = b.id and s.key = r.turn
                      where pgqueue.is_full(s.taken, s.wanted, b.concurrency, s.free_at, moment)))
                  and (l.ordering is null or (
                      l.id = r.first
                      and not exists (select from pgqueue.seats s
                                      where s.limit_id = 0 and s.key = due_by_key.queue || ' ' || r.turn and s.taken > 0)
                      and not exists (select from pgqueue.jobs_dead d
                                      where d.queue = due_by_key.queue and d.concurrency_key = r.turn and d.ordering = 'block'
                                        and d.id < l.id)))
                order by l.run_at, l.id
                limit r.part
                for update skip locked
            ) d
            limit due_by_key.count
        ) c;
        exit when ids is null or cardinality(ids) = due_by_key.count or turns is not null;
        select array_agg(t.turn order by t.place), array_agg(t.part order by t.place) into turns, parts
        from (
            select u.turn, min(u.place) as place,
                   case when shared then pgqueue.share_of(u.turn, due_by_key.queue) else 1 end as part
            from unnest(turn_of) with ordinality u (turn, place) group by u.turn
        ) t;
        parts := array(select case when shared then p * greatest(due_by_key.count / t.total, 1)  -- so that shares stay what they are
                                   else (due_by_key.count * p + t.total - 1) / t.total end
                       from unnest(parts) with ordinality u (p, place), (select sum(s) as total from unnest(parts) s) t order by u.place);
    end loop;

    if shared and ids is not null then
        had := (select count(*) from unnest(turn_of) u (turn) where u.turn = turn_of[cardinality(ids)]);
        if random() * base * pgqueue.share_of(turn_of[cardinality(ids)], queue) > had then
            turn_of[cardinality(ids)] := coalesce(turn_of[cardinality(ids) - had], after);
        end if;
    end if;
    return query select * from unnest(ids, turn_of, key_of, task_of, weights, orders);
end
$function$;
