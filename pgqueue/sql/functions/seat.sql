-- Takes seats for candidates, in their order, under all limits that concern each, and returns those that got them all with what
-- they hold: pairs of a limit's id and the weight to give back (release.sql). Only for claim_limited.sql.
-- First locks the seats, in the order of (limit_id, key), then counts in a statement of its own, which sees what others committed
-- meanwhile: so no limit is overshot at any instant. Nobody who gets no seat is overtaken under the same limit.
-- A limit for one key takes the place of the one for each key with the same queue and task.
-- Rates: a bucket is kept as the moment at which it would be empty of debts (the generic cell rate algorithm); a sliding window as the
-- starts within it. `free_at` is when the first one that waits can have its start: until then nobody looks again.
create or replace function pgqueue.seat(limits integer[], ids bigint[], keys text[], tasks text[], weights integer[])
returns table (id bigint, holds integer[])
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_hashjoin = on  -- claim_limited() has it off, and here are small sets without an index
as $function$
#variable_conflict use_column
declare
    moment    timestamptz;
    places    integer[];
    limit_ids integer[];
    seat_keys text[];
    amounts   integer[];
begin
    select array_agg(n.place order by n.place), array_agg(n.limit_id order by n.place),
           array_agg(n.key order by n.place), array_agg(n.amount order by n.place)
    into places, limit_ids, seat_keys, amounts
    from (
        select c.place::integer as place, l.id as limit_id, case when l.per_key then c.key else '' end as key,
               least(c.weight, nullif(l.concurrency, 0), case when l.sliding then l.rate end) as amount
        from unnest(keys, tasks, weights) with ordinality as c(key, task, weight, place)
        join pgqueue.limits l
          on l.id = any(limits) and (l.task is null or l.task = c.task)
         and (not l.per_key or (c.key <> '' and (l.key = c.key or (l.key is null and not exists (
                  select from pgqueue.limits o
                  where o.id = any(limits) and o.key = c.key and o.queue is not distinct from l.queue
                    and o.task is not distinct from l.task and o.sliding = l.sliding)))))
    ) n;
    if places is null then
        return query select c.id, null::integer[] from unnest(ids) c(id);
        return;
    end if;

    insert into pgqueue.seats (limit_id, key)
    select distinct n.limit_id, n.key from unnest(limit_ids, seat_keys) n(limit_id, key) order by 1, 2
    on conflict do nothing;
    perform from pgqueue.seats s
    where (s.limit_id, s.key) in (select n.limit_id, n.key from unnest(limit_ids, seat_keys) n(limit_id, key))
    order by s.limit_id, s.key
    for update;

    moment := clock_timestamp();
    return query
        with need as materialized (
            select n.place, n.limit_id, n.key, n.amount from unnest(places, limit_ids, seat_keys, amounts) n(place, limit_id, key, amount)
        ), seat as materialized (
            select s.limit_id, s.key, s.taken, l.concurrency, l.rate, l.sliding, l.period,
                   coalesce(l.burst, 1) as burst, l.period / l.rate as pace, greatest(s.arrival, moment) as arrival,
                   case when l.sliding then (select coalesce(sum(t.weight), 0) from pgqueue.starts t
                                             where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period) end as started
            from pgqueue.seats s
            join pgqueue.limits l on l.id = s.limit_id
            where (s.limit_id, s.key) in (select n.limit_id, n.key from need n)
        ), room as materialized (
            select s.*, s.concurrency - s.taken as chairs,
                   case when s.sliding then s.rate - s.started
                        else floor(s.burst - date_part('epoch', s.arrival - moment) / date_part('epoch', s.pace) + 0.000001) end as tokens
            from seat s
        ), counted as materialized (
            -- One that weighs more than a bucket holds starts when that is full, and the next ones wait the longer.
            select c.place, c.limit_id, c.key, c.amount,
                   coalesce(c.upto > c.chairs, false)
                   or coalesce(c.upto > c.tokens and not (c.upto = c.amount and not c.sliding and c.arrival = moment), false) as refused
            from (select n.place, n.limit_id, n.key, n.amount, r.chairs, r.tokens, r.sliding, r.arrival,
                         sum(n.amount) over (partition by n.limit_id, n.key order by n.place) as upto
                  from need n join room r using (limit_id, key)) c
        ), refused as materialized (
            select distinct c.place from counted c where c.refused
        ), granted as materialized (
            select c.limit_id, c.key, sum(c.amount)::integer as amount
            from counted c where c.place not in (select r.place from refused r)
            group by c.limit_id, c.key
        ), held as materialized (
            select n.place, array_agg(v.part order by n.limit_id, v.side) as holds
            from need n join room r using (limit_id, key) cross join lateral (values (1, n.limit_id), (2, n.amount)) v(side, part)
            where r.concurrency is not null
            group by n.place
        ), next as materialized (
            select distinct on (c.limit_id, c.key) c.limit_id, c.key, c.amount
            from counted c where c.refused order by c.limit_id, c.key, c.place
        ), noted as (
            insert into pgqueue.starts (limit_id, key, at, weight)
            select g.limit_id, g.key, moment, g.amount from granted g join room r using (limit_id, key) where r.sliding
        ), counting as (
            update pgqueue.seats s
            set wanted = coalesce(x.amount, 1),
                taken = s.taken + case when r.concurrency is null then 0 else coalesce(g.amount, 0) end,
                arrival = case when r.rate is not null and not r.sliding
                               then r.arrival + coalesce(g.amount, 0) * r.pace else s.arrival end,
                free_at = case when x.amount is null or r.rate is null then null
                               when r.sliding and r.tokens - coalesce(g.amount, 0) >= x.amount then null
                               when r.sliding then (select coalesce(min(t.at), moment) + r.period from pgqueue.starts t
                                                    where t.limit_id = r.limit_id and t.key = r.key and t.at > moment - r.period)
                               else r.arrival + (coalesce(g.amount, 0) + least(x.amount, r.burst) - r.burst) * r.pace end
            from room r
            left join granted g using (limit_id, key)
            left join next x using (limit_id, key)
            where s.limit_id = r.limit_id and s.key = r.key
        )
        select ids[p.place], h.holds
        from generate_series(1, cardinality(ids)) p(place)
        left join held h using (place)
        where p.place not in (select r.place from refused r);
end
$function$;
