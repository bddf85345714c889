-- Chooses the due jobs of a lane that the lane's next claim can take by turns. Goes through the keys in order, beginning with the key that
-- follows `after`. It takes one job of each key (in a large claim up to four), or this number multiplied by the key's share, if the key has
-- one (share_of.sql).
-- If the keys with due jobs give fewer than `count` jobs in this way, a second search takes more jobs of each of these keys.
-- A key is a concurrency_key. The key of a parked job (park.sql) is E'\x01' followed by the job's task.
-- docs/internals/claiming.md shows the steps, and why a plain query fails.
-- A claim can stop in the middle of a key's share. In this case, chance decides whether the next claim begins with that key again, so that
-- on average each key gets its share.
-- Jobs that cannot start now are skipped with one index probe, however many they are. This is done for all jobs of a key that is paused
-- (pgqueue.pauses) or whose seats are taken. Within a key, it is done for all jobs of a task whose limit is used up, or that is not in
-- `tasks`.
-- If few jobs of the lane are due, keys without a due job are not even probed (keys_due.sql).
-- `after_at` and `after_id` are a position. All scans begin there, because an earlier claim found no job in front of this position. So the
-- scans do not walk the dead index entries of claimed jobs, which vacuum cannot remove while a session holds an old snapshot.
-- The jobs of a key are taken in the order of run_at. Of a key's jobs with an `ordering`, only the first unfinished job can start. It must
-- not start if an earlier job of the key is dead and the dead job's ordering is block.
-- Only claim_limited.sql calls this function. `limits` are the ids of the lane's limits. `tasks` are those tasks of the worker whose limit
-- is not used up.
-- Locks the jobs that it returns and a few more, key by key, skipping locked ones.
-- Uses the indexes jobs_live_key_idx, jobs_live_due_idx, jobs_live_order_idx and seats_pkey. Zero rows: no job can start now.
create or replace function pgqueue.due_by_key(tasks text[], queue text, priority smallint, after text, count integer, limits integer[],
    after_at timestamptz, after_id bigint)
returns table (id bigint, turn text, key text, task text, weight integer, ordered text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off  -- so only jobs_live_key_idx can give the order, even if the statistics are stale
set enable_incremental_sort = off
as $function$
#variable_conflict use_column
declare
    of_queue    constant text := queue;
    of_priority constant smallint := priority;
    moment   constant timestamptz := clock_timestamp();
    paused   constant boolean := exists (select from pgqueue.pauses p where p.until > moment);
    shared   constant boolean := exists (select from pgqueue.limits l where l.share is not null);
    by_key   constant boolean := exists (select from pgqueue.limits l where l.id = any(limits) and l.per_key);
    by_task  constant integer[] := array(select l.id from pgqueue.limits l where l.id = any(limits) and l.per_key and l.task is not null);
    ordered  constant boolean := exists (select from pgqueue.jobs_live o
        where o.queue = of_queue and o.ordering is not null and o.concurrency_key is not null);
    -- A large claim takes a few jobs of each key that it passes, because half of its cost is the search for keys.
    base     constant integer := least(greatest(count / 100, 1), 4, (
        select min(l.concurrency) from pgqueue.limits l where l.id = any(limits) and l.per_key and l.concurrency > 0));
    passed   constant text[] := array(select E'\x01' || p.task from pgqueue.pauses p where p.key = '' and p.until > moment);
    -- If the first task of this many keys in a row is not in `tasks`, the next probes search only for keys with a task in `tasks`. Then the
    -- index itself skips all other keys.
    patience   constant integer := 50;
    first_task constant text := (select min(t collate "C") from unnest(tasks) t);
    last_task  constant text := (select max(t collate "C") from unnest(tasks) t);
    last_key   constant text := repeat(chr(1114111), 64);  -- greater than any key, because keys are shorter
    near     text[] := pgqueue.keys_due(of_queue, of_priority, after, count, moment, after_at, after_id);
    ids      bigint[];
    turn_of  text[];
    key_of   text[];
    task_of  text[];
    weights  integer[];
    orders   text[];
    turns    text[];     -- the keys of the second search,
    parts    integer[];  -- and how many jobs of each key this search can take
    had      integer;    -- how many jobs the last key gave
begin
    loop
        with recursive
        -- 1. The keys of the lane, each with its first task, by a loose index scan. Each step probes for the next key: from the key that
        --    follows `after` to the last key, and then from the first key to `after`.
        step (turn, task, wrapped, unknown) as (
            select after collate "C", null::text collate "C", false, 0 where near is null and turns is null
            union all
            select coalesce(n.turn, ''), n.task, s.wrapped or n.turn is null,
                   case when s.unknown >= patience then s.unknown when n.task = '' or n.task = any(tasks) then 0 else s.unknown + 1 end
            from step s
            left join lateral (
                select * from (
                    select coalesce(j.concurrency_key, E'\x01' || j.task) as turn, case when j.ordering is null then j.task::text else '' end as task
                    from pgqueue.jobs_live j
                    where s.unknown < patience
                      and --+ lane_by_key j
                      and coalesce(j.concurrency_key, E'\x01' || j.task) > s.turn and j.run_at >= after_at
                    order by coalesce(j.concurrency_key, E'\x01' || j.task), num_nonnulls(j.ordering), j.task limit 1) one
                union all
                select * from (
                    select coalesce(j.concurrency_key, E'\x01' || j.task) as turn, case when j.ordering is null then j.task::text else '' end as task
                    from pgqueue.jobs_live j
                    where s.unknown >= patience
                      and --+ lane_by_key j
                      and coalesce(j.concurrency_key, E'\x01' || j.task) > s.turn
                      and coalesce(j.concurrency_key, E'\x01' || j.task) <= case when s.wrapped then after else last_key end
                      and j.run_at >= after_at and j.task between first_task and last_task and j.task = any(tasks)
                    order by coalesce(j.concurrency_key, E'\x01' || j.task), num_nonnulls(j.ordering), j.task limit 1) far
                ) n on true
            where not s.wrapped or n.turn <= after
        ),
        candidate (turn, task) as (
            select s.turn, s.task from step s where s.task is not null
            union all
            select u.turn, '' from unnest(near) u (turn)
        ),
        -- 2. The keys that are not paused and have a free seat, and how many jobs of each key this search can take.
        chosen (turn, task, part) as (
            select k.turn, k.task, base * case when shared then pgqueue.share_of(k.turn, of_queue) else 1 end
            from candidate k
            where k.turn <> all(passed)
              and (not paused or not exists (
                  select from pgqueue.pauses p where p.task = '' and p.key = k.turn and p.until > moment))
              and (not by_key or not exists (
                  select from pgqueue.seats s join pgqueue.limits l on l.id = s.limit_id
                  where s.limit_id = any(limits) and s.key = k.turn and l.per_key and l.task is null
                    and (l.key is null or l.key = k.turn)
                    and pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at, moment)))
            union all
            select u.turn, '', u.part from unnest(turns, parts) u (turn, part)
        )
        select array_agg(c.id), array_agg(c.turn), array_agg(c.key), array_agg(c.task), array_agg(c.weight), array_agg(c.ordered)
        into ids, turn_of, key_of, task_of, weights, orders
        from (
            select d.id, r.turn, d.key, d.task, d.weight, d.ordered
            from chosen r
            cross join lateral (
                select l.run_at, l.id, l.key, l.task, l.weight, case when t.first is not null then of_queue || ' ' || r.turn end as ordered
                -- 3. The tasks of the key, because the index sorts the jobs of a key by task; and the job that is next in the key's order.
                from (
                    select r.task, null::bigint as first
                    union all
                    select f.task, null from (  -- the key's further tasks, by a loose index scan; most keys have one task
                        with recursive further (task) as (
                            select r.task
                            union all
                            select (select j.task::text from pgqueue.jobs_live j
                                    where --+ lane_by_key j
                                      and coalesce(j.concurrency_key, E'\x01' || j.task) = r.turn
                                      and num_nonnulls(j.ordering) = 0 and j.task > f.task and j.run_at >= after_at
                                    order by j.task limit 1)
                            from further f where f.task is not null
                        ) select f.task from further f offset 1) f
                    where exists (
                        select from pgqueue.jobs_live j
                        where --+ lane_by_key j
                          and coalesce(j.concurrency_key, E'\x01' || j.task) = r.turn
                          and num_nonnulls(j.ordering) = 0 and j.task > r.task and j.run_at >= after_at)
                    union all
                    select o.task, o.id from (  -- only jobs_live_order_idx has this order; else the planner might use another
                        select j.task::text as task, j.id from pgqueue.jobs_live j
                        where ordered and j.ordering is not null and j.concurrency_key is not null
                          and (j.queue, j.concurrency_key) >= (of_queue, r.turn) and (j.queue, j.concurrency_key) <= (of_queue, r.turn)
                        order by j.queue, j.concurrency_key, j.id limit 1) o
                ) t
                -- 4. For each of these tasks, its first jobs by run_at that may start; or the next job in the key's order, if it may start.
                cross join lateral (
                    select u.* from (
                        select j.run_at, j.id, coalesce(j.concurrency_key::text, '') as key, j.task::text as task, coalesce(j.weight, 1)::integer as weight
                        from pgqueue.jobs_live j
                        where t.first is null
                          and --+ lane_by_key j
                          and coalesce(j.concurrency_key, E'\x01' || j.task) = r.turn
                          and num_nonnulls(j.ordering) = 0 and j.task = t.task and j.run_at >= after_at
                          and --+ may_start j
                        order by j.run_at, j.id
                        limit r.part
                        for update skip locked) u
                    union all
                    select o.* from (
                        select j.run_at, j.id, j.concurrency_key::text, j.task::text, coalesce(j.weight, 1)::integer
                        from pgqueue.jobs_live j
                        where j.id = t.first
                          and j.queue = of_queue and j.priority = of_priority and j.state in ('pending', 'retrying')
                          and --+ may_start j
                          and not exists (select from pgqueue.seats s
                                          where s.limit_id = 0 and s.key = of_queue || ' ' || r.turn and s.taken > 0)
                          and not exists (select from pgqueue.jobs_dead d
                                          where d.queue = of_queue and d.concurrency_key = r.turn and d.ordering = 'block'
                                            and d.id < j.id)
                        for update skip locked) o
                ) l
                where t.task = any(tasks)
                  and (cardinality(by_task) = 0 or not exists (
                      select from unnest(by_task) u (id)
                      join pgqueue.limits b on b.id = u.id and b.task = t.task and (b.key is null or b.key = r.turn)
                      join pgqueue.seats s on s.limit_id = b.id and s.key = r.turn
                      where pgqueue.is_full(s.taken, s.wanted, b.concurrency, s.free_at, moment)))
                order by l.run_at, l.id
                limit r.part
            ) d
            limit due_by_key.count
        ) c;
        exit when ids is null or cardinality(ids) = due_by_key.count or turns is not null;
        near := null;
        select p.turns, p.parts into turns, parts from pgqueue.larger_parts(turn_of, of_queue, shared, due_by_key.count) p;
    end loop;

    if shared and ids is not null then
        had := (select count(*) from unnest(turn_of) u (turn) where u.turn = turn_of[cardinality(ids)]);
        if random() * base * pgqueue.share_of(turn_of[cardinality(ids)], of_queue) > had then
            turn_of[cardinality(ids)] := coalesce(turn_of[cardinality(ids) - had], after);
        end if;
    end if;
    return query select * from unnest(ids, turn_of, key_of, task_of, weights, orders);
end
$function$;
