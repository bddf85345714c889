-- Takes seats for candidates, in their order, under all limits that concern each, and returns those that got them all, each with its place
-- among the candidates, what it holds: pairs of a limit's id and the weight to give back (release.sql), and when that was, which is its
-- start. Only for claim_limited.sql.
-- First locks the seats, in the order of (limit_id, key), then counts in a statement of its own, which sees what others committed
-- meanwhile: so no limit is overshot at any instant. Who gets no seat for want of room under one limit is not overtaken under it,
-- and takes no room under the others.
-- Jobs that keep their order (`orders`: their queue and key, or null) share one seat of a key under limit 0: the next one in order is not
-- always known, for one with a smaller id may be committed later.
-- A limit for one key takes the place of the one for each key with the same queue and task.
-- Rates: a bucket is kept as the moment at which it would be empty of debts (the generic cell rate algorithm); a sliding window as the
-- starts within it. `free_at` is when the first one that waits can have its start: until then nobody looks again.
create or replace function pgqueue.seat(limits integer[], ids bigint[], keys text[], tasks text[], weights integer[], orders text[])
returns table (id bigint, place integer, holds integer[], moment timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_hashjoin = on  -- claim_limited() has it off, and here are small sets without an index
as $function$
#variable_conflict use_column
declare
    needed    integer;    -- seats
    takens    integer[];  -- of each, as it is
    arrivals  timestamptz[];
    place_of  integer[];  -- of each need, in the order of the candidates: which candidate,
    limit_of  integer[];  -- and under which limit
    key_of    text[];
    amounts   integer[];
    seat_of   integer[];  -- the number of the seat
    limit_ids integer[];  -- of each seat: limit and key,
    seat_keys text[];
    chairs    integer[];  -- what is left of its concurrency,
    tokens    integer[];  -- and of its rate; null: any number
    rested    boolean[];  -- a bucket that is full
    granted   integer[];
    missed    integer[];  -- the weight of the first that it refused
    refused   boolean;
    seated    integer[] := '{}';  -- the places that got all their seats
    first     integer := 1;
    i         integer;
    n         integer;
begin
    select array_agg(n.place order by n.place, n.limit_id), array_agg(n.limit_id order by n.place, n.limit_id),
           array_agg(n.key order by n.place, n.limit_id), array_agg(n.amount order by n.place, n.limit_id)
    into place_of, limit_of, key_of, amounts
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
        union all
        select o.place::integer, 0, o.key, 1 from unnest(orders) with ordinality o(key, place) where o.key is not null
    ) n;
    if place_of is null then
        return query select c.id, c.place::integer, null::integer[], clock_timestamp() from unnest(ids) with ordinality c(id, place);
        return;
    end if;

    select count(distinct (n.limit_id, n.key)) into needed from unnest(limit_of, key_of) n(limit_id, key);
    loop
        -- A row that is locked comes as it is then, whatever this statement saw before it waited.
        select array_agg(s.limit_id), array_agg(s.key), array_agg(s.taken), array_agg(s.arrival)
        into limit_ids, seat_keys, takens, arrivals
        from (
            select s.limit_id, s.key, s.taken, s.arrival
            from (select distinct n.limit_id, n.key from unnest(limit_of, key_of) n(limit_id, key)) n
            join pgqueue.seats s on s.limit_id = n.limit_id and s.key = n.key
            order by s.limit_id, s.key
            for update of s
        ) s;
        exit when cardinality(limit_ids) = needed;
        insert into pgqueue.seats (limit_id, key)
        select distinct n.limit_id, n.key from unnest(limit_of, key_of) n(limit_id, key) order by 1, 2
        on conflict do nothing;  -- what is tidied away (heal_seats.sql) before it is locked is made again
    end loop;

    moment := clock_timestamp();
    select array_agg(case s.limit_id when 0 then 1 else l.concurrency end - s.taken order by s.number),
           array_agg(case
               when l.sliding then l.rate - (select coalesce(sum(t.weight), 0) from pgqueue.starts t
                                             where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period)
               when l.rate is not null then floor(coalesce(l.burst, 1) + 0.000001
                   - date_part('epoch', greatest(s.arrival, moment) - moment) / date_part('epoch', l.period / l.rate))
               end::integer order by s.number),
           array_agg(l.rate is not null and not l.sliding and coalesce(s.arrival <= moment, true) order by s.number)
    into chairs, tokens, rested
    from unnest(limit_ids, seat_keys, takens, arrivals) with ordinality s(limit_id, key, taken, arrival, number)
    left join pgqueue.limits l on l.id = s.limit_id;
    select array_agg(s.number::integer order by n.number) into seat_of
    from unnest(limit_of, key_of) with ordinality n(limit_id, key, number)
    join unnest(limit_ids, seat_keys) with ordinality s(limit_id, key, number) using (limit_id, key);
    granted := array_fill(0, array[needed]);
    missed := array_fill(0, array[needed]);

    for place in 1 .. cardinality(ids) loop
        refused := false;
        i := first;
        while place_of[i] = place loop
            n := seat_of[i];  -- chairs and tokens are null where there is no such limit, or no more
            -- One that weighs more than a bucket holds starts when that is full, and the next ones wait the longer.
            if missed[n] > 0 or amounts[i] > chairs[n] or (amounts[i] > tokens[n] and not (rested[n] and granted[n] = 0)) then
                refused := true;
                if missed[n] = 0 then
                    missed[n] := amounts[i];
                end if;
            end if;
            i := i + 1;
        end loop;
        if not refused then
            seated := seated || place;
            for k in first .. i - 1 loop
                n := seat_of[k];
                granted[n] := granted[n] + amounts[k];
                chairs[n] := chairs[n] - amounts[k];
                tokens[n] := tokens[n] - amounts[k];
            end loop;
        end if;
        first := i;
    end loop;

    insert into pgqueue.starts (limit_id, key, at, weight)
    select s.limit_id, s.key, moment, s.granted
    from unnest(limit_ids, seat_keys, granted) s(limit_id, key, granted)
    join pgqueue.limits l on l.id = s.limit_id and l.sliding
    where s.granted > 0;
    update pgqueue.seats s
    set wanted = greatest(c.missed, 1),
        taken = s.taken + case when l.concurrency is null and c.limit_id <> 0 then 0 else c.granted end,
        arrival = case when l.rate is not null and not l.sliding
                       then greatest(s.arrival, moment) + c.granted * (l.period / l.rate) else s.arrival end,
        free_at = case when c.missed = 0 or l.rate is null or c.tokens >= c.missed then null
                       when l.sliding then (select coalesce(min(t.at), moment) + l.period from pgqueue.starts t
                                            where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period)
                       else greatest(s.arrival, moment)
                            + (c.granted + least(c.missed, coalesce(l.burst, 1)) - coalesce(l.burst, 1)) * (l.period / l.rate) end
    from unnest(limit_ids, seat_keys, granted, missed, tokens) c(limit_id, key, granted, missed, tokens)
    left join pgqueue.limits l on l.id = c.limit_id
    where s.limit_id = c.limit_id and s.key = c.key;

    return query
        select ids[t.place], t.place, h.holds, moment
        from unnest(seated) t(place)
        left join (
            select n.place, array_agg(v.part order by n.limit_id, v.side) as holds
            from unnest(place_of, limit_of, amounts) n(place, limit_id, amount)
            left join pgqueue.limits l on l.id = n.limit_id
            cross join lateral (values (1, n.limit_id), (2, n.amount)) v(side, part)
            where l.concurrency is not null or n.limit_id = 0
            group by n.place
        ) h using (place);
end
$function$;
