-- Takes seats for candidates, in their order, under all limits that concern each, and returns those that got them all, each with its place
-- among the candidates, what it holds: pairs of a limit's id and the weight to give back (release.sql), and when that was, which is its
-- start. Only for claim_limited.sql.
-- First locks the seats, in the order of (limit_id, key), then counts in a statement of its own, which sees what others committed
-- meanwhile: so no limit is overshot at any instant. Who gets no seat for want of room under one limit is not overtaken under it,
-- and takes no room under the others.
-- A limit for one key takes the place of the one for each key with the same queue and task.
-- Rates: a bucket is kept as the moment at which it would be empty of debts (the generic cell rate algorithm); a sliding window as the
-- starts within it. `free_at` is when the first one that waits can have its start: until then nobody looks again.
create or replace function pgqueue.seat(limits integer[], ids bigint[], keys text[], tasks text[], weights integer[])
returns table (id bigint, place integer, holds integer[], moment timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_hashjoin = on  -- claim_limited() has it off, and here are small sets without an index
as $function$
#variable_conflict use_column
declare
    needed    integer;
    found     integer;
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
    ) n;
    if place_of is null then
        return query select c.id, c.place::integer, null::integer[], clock_timestamp() from unnest(ids) with ordinality c(id, place);
        return;
    end if;

    select count(distinct (n.limit_id, n.key)) into needed from unnest(limit_of, key_of) n(limit_id, key);
    loop
        insert into pgqueue.seats (limit_id, key)
        select distinct n.limit_id, n.key from unnest(limit_of, key_of) n(limit_id, key) order by 1, 2
        on conflict do nothing;
        perform from pgqueue.seats s
        where (s.limit_id, s.key) in (select n.limit_id, n.key from unnest(limit_of, key_of) n(limit_id, key))
        order by s.limit_id, s.key
        for update;
        get diagnostics found = row_count;
        exit when found = needed;  -- else one was there, and was tidied away (heal_seats.sql) before it was locked
    end loop;

    moment := clock_timestamp();
    select array_agg(s.limit_id order by s.limit_id, s.key), array_agg(s.key order by s.limit_id, s.key),
           array_agg(l.concurrency - s.taken order by s.limit_id, s.key),
           array_agg(case
               when l.sliding then l.rate - (select coalesce(sum(t.weight), 0) from pgqueue.starts t
                                             where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period)
               when l.rate is not null then floor(coalesce(l.burst, 1) + 0.000001
                   - date_part('epoch', greatest(s.arrival, moment) - moment) / date_part('epoch', l.period / l.rate))
               end::integer order by s.limit_id, s.key),
           array_agg(l.rate is not null and not l.sliding and coalesce(s.arrival <= moment, true) order by s.limit_id, s.key)
    into limit_ids, seat_keys, chairs, tokens, rested
    from pgqueue.seats s
    join pgqueue.limits l on l.id = s.limit_id
    where (s.limit_id, s.key) in (select n.limit_id, n.key from unnest(limit_of, key_of) n(limit_id, key));
    select array_agg(s.number::integer order by n.number) into seat_of
    from unnest(limit_of, key_of) with ordinality n(limit_id, key, number)
    left join unnest(limit_ids, seat_keys) with ordinality s(limit_id, key, number) using (limit_id, key);
    granted := array_fill(0, array[coalesce(cardinality(limit_ids), 0)]);
    missed := array_fill(0, array[coalesce(cardinality(limit_ids), 0)]);

    for place in 1 .. cardinality(ids) loop
        refused := false;
        i := first;
        while place_of[i] = place loop
            n := seat_of[i];  -- null: the limit has just been removed
            -- One that weighs more than a bucket holds starts when that is full, and the next ones wait the longer.
            if n is not null and (missed[n] > 0 or amounts[i] > chairs[n] or (amounts[i] > tokens[n] and not (rested[n] and granted[n] = 0))) then
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
                if n is not null then
                    granted[n] := granted[n] + amounts[k];
                    chairs[n] := chairs[n] - amounts[k];
                    tokens[n] := tokens[n] - amounts[k];
                end if;
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
        taken = s.taken + case when l.concurrency is null then 0 else c.granted end,
        arrival = case when l.rate is not null and not l.sliding
                       then greatest(s.arrival, moment) + c.granted * (l.period / l.rate) else s.arrival end,
        free_at = case when c.missed = 0 or l.rate is null or c.tokens >= c.missed then null
                       when l.sliding then (select coalesce(min(t.at), moment) + l.period from pgqueue.starts t
                                            where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period)
                       else greatest(s.arrival, moment)
                            + (c.granted + least(c.missed, coalesce(l.burst, 1)) - coalesce(l.burst, 1)) * (l.period / l.rate) end
    from unnest(limit_ids, seat_keys, granted, missed, tokens) c(limit_id, key, granted, missed, tokens)
    join pgqueue.limits l on l.id = c.limit_id
    where s.limit_id = c.limit_id and s.key = c.key;

    return query
        select ids[t.place], t.place, h.holds, moment
        from unnest(seated) t(place)
        left join (
            select n.place, array_agg(v.part order by n.limit_id, v.side) as holds
            from unnest(place_of, limit_of, amounts) n(place, limit_id, amount)
            join pgqueue.limits l on l.id = n.limit_id and l.concurrency is not null
            cross join lateral (values (1, n.limit_id), (2, n.amount)) v(side, part)
            group by n.place
        ) h using (place);
end
$function$;
