-- Takes seats for candidate jobs, in the order of the candidates, under all limits that apply to each job. Only claim_limited.sql calls
-- this function.
-- Returns the jobs that got all their seats. `rank` is the job's place among the candidates. `seats_taken` is a list of pairs: a limit's
-- id, and the weight that is to be given back later (give_back_seats.sql). `moment` is when the job took its seats, which is its start.
-- First locks the seats, in the order of (limit_id, key). Then a second statement counts what is free. It sees what other transactions have
-- committed in the meantime, so no limit is exceeded at any instant.
-- If one limit has no room for a job, the job is refused, and takes no room under its other limits. No later candidate is allowed to
-- overtake it under that limit.
-- Jobs that keep their order share one seat of their key, which has the limit id 0. This seat is needed because the next job in order is
-- not always known: a job with a smaller id can be committed later.
-- `orders` has one element for each candidate. For a job that keeps its order, the element is the job's queue and key with a space between
-- them, which no queue's name contains. For other jobs it is null.
-- A limit for one key replaces, for that key, the limit for every key that has the same queue and task.
-- Rates: a bucket is stored as `full_at`, the moment at which it is full again (the generic cell rate algorithm). A sliding window is
-- stored as the starts within it (pgqueue.starts).
-- `free_at` is the moment at which the first job that was refused can start. Until then no worker looks at this seat again.
create or replace function pgqueue.take_seats(limits integer[], ids bigint[], keys text[], tasks text[], weights integer[], orders text[])
returns table (id bigint, rank integer, seats_taken integer[], moment timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_hashjoin = on  -- claim_limited() turns this off, but the small sets here have no index
as $function$
#variable_conflict use_column
declare
    -- Three arrays have one element for each need of one candidate for one seat, in the order of the candidates:
    rank_of   integer[];  -- the candidate's rank
    amounts   integer[];  -- how much of the seat the candidate needs
    seat_of   integer[];  -- the seat's number
    -- The next seven have one element for each seat:
    limit_ids integer[];  -- the id of its limit
    seat_keys text[];     -- its key
    seats     integer[];  -- first how much of its concurrency is taken, later how much is left; null: no concurrency is set
    tokens    integer[];  -- how much of its rate is left; null: no rate is set
    rested    boolean[];  -- whether it has a bucket that is full
    granted   integer[];  -- how much this call gave to candidates
    missed    integer[];  -- the weight of the first candidate that was refused
    rated     boolean;    -- whether any limit has a rate
    refused   boolean;
    first     integer := 1;
    i         integer;
    n         integer;
begin
    select array_agg(n.rank order by n.rank, n.number), array_agg(n.amount order by n.rank, n.number),
           array_agg(n.number order by n.rank, n.number), bool_or(n.rated),
           array_agg(n.limit_id order by n.number) filter (where n.is_first), array_agg(n.key order by n.number) filter (where n.is_first)
    into rank_of, amounts, seat_of, rated, limit_ids, seat_keys
    from (
        select n.rank, n.limit_id, n.key, n.amount, n.rated, (dense_rank() over seats)::integer as number,
               row_number() over (partition by n.limit_id, n.key collate "C") = 1 as is_first
        from (
            select c.rank::integer as rank, l.id as limit_id, case when l.per_key then c.key else '' end as key,
                   case when l.concurrency is null and l.rate is null then 0
                        else least(c.weight, nullif(l.concurrency, 0), case when l.sliding then l.rate end) end as amount,
                   l.rate is not null as rated
            from unnest(keys, tasks, weights) with ordinality as c(key, task, weight, rank)
            join pgqueue.limits l
              on l.id = any(limits) and (l.task is null or l.task = c.task)
             and (not l.per_key or (c.key <> '' and (l.key = c.key or (l.key is null and not exists (
                      select from pgqueue.limits o
                      where o.id = any(limits) and o.key = c.key and o.queue is not distinct from l.queue
                        and o.task is not distinct from l.task and o.sliding = l.sliding)))))
            union all
            select o.rank::integer, 0, o.key, 1, false from unnest(orders) with ordinality o(key, rank) where o.key is not null
        ) n
        window seats as (order by n.limit_id, n.key collate "C")
    ) n;
    if rank_of is null then
        return query select c.id, c.rank::integer, null::integer[], clock_timestamp() from unnest(ids) with ordinality c(id, rank);
        return;
    end if;

    for rounds in 1 .. 100 loop
        -- `for update` returns each row as it is after the wait for its lock, even if the row has changed since the statement began.
        select array_agg(s.taken order by s.number) into seats
        from (
            select s.taken, n.number
            from unnest(limit_ids, seat_keys) with ordinality n(limit_id, key, number)
            join pgqueue.seats s on s.limit_id = n.limit_id and s.key = n.key
            order by n.number
            for update of s
        ) s;
        exit when cardinality(seats) = cardinality(limit_ids);
        if rounds = 100 then
            raise insufficient_privilege using message = 'pgqueue: row level security hides seats from this role, although a worker uses it';
        end if;
        insert into pgqueue.seats (limit_id, key)
        select n.limit_id, n.key from unnest(limit_ids, seat_keys) with ordinality n(limit_id, key, number) order by n.number
        on conflict do nothing;  -- recount_seats.sql can delete a seat before it is locked here; then the next round inserts it again
    end loop;

    moment := clock_timestamp();
    -- The limits are read as they are now. A transaction that changes a limit also locks the seats of the limit, until its commit.
    select array_agg(case n.limit_id when 0 then 1 else l.concurrency end - n.taken order by n.number) into seats
    from unnest(limit_ids, seats) with ordinality n(limit_id, taken, number)
    left join pgqueue.limits l on l.id = n.limit_id;
    tokens := array_fill(null::integer, array[cardinality(limit_ids)]);
    if rated then
        select array_agg(case
                   when l.sliding then l.rate - (select coalesce(sum(t.weight), 0) from pgqueue.starts t
                                                 where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period)
                   when l.rate is not null then greatest(floor(coalesce(l.burst, 1) + 0.000001
                       - date_part('epoch', greatest(s.full_at, moment) - moment) / date_part('epoch', l.period / l.rate)), -2000000000)
                   end::integer order by n.number),
               array_agg(l.rate is not null and not l.sliding and coalesce(s.full_at <= moment, true) order by n.number)
        into tokens, rested
        from unnest(limit_ids, seat_keys) with ordinality n(limit_id, key, number)
        join pgqueue.seats s on s.limit_id = n.limit_id and s.key = n.key
        left join pgqueue.limits l on l.id = s.limit_id;
    end if;
    granted := array_fill(0, array[cardinality(limit_ids)]);
    missed := granted;

    for at in 1 .. cardinality(ids) loop
        refused := false;
        i := first;
        while rank_of[i] = at loop
            n := seat_of[i];  -- seats and tokens are null if the limit has no concurrency or no rate, or is gone
            -- A job that weighs more than the whole bucket starts when the bucket is full. Then the next jobs wait longer.
            if missed[n] > 0 or amounts[i] > seats[n] or (amounts[i] > tokens[n] and not (rested[n] and granted[n] = 0)) then
                refused := true;
                if missed[n] = 0 then
                    missed[n] := amounts[i];
                end if;
            end if;
            i := i + 1;
        end loop;
        if not refused then
            seats_taken := null;
            for k in first .. i - 1 loop
                n := seat_of[k];
                granted[n] := granted[n] + amounts[k];
                tokens[n] := tokens[n] - amounts[k];
                if seats[n] is not null then
                    seats[n] := seats[n] - amounts[k];
                    seats_taken := seats_taken || limit_ids[n] || amounts[k];
                end if;
            end loop;
            id := ids[at];
            rank := at;
            return next;
        end if;
        first := i;
    end loop;

    if rated then
        insert into pgqueue.starts (limit_id, key, at, weight)
        select s.limit_id, s.key, moment, s.granted
        from unnest(limit_ids, seat_keys, granted) s(limit_id, key, granted)
        join pgqueue.limits l on l.id = s.limit_id and l.sliding
        where s.granted > 0;
    end if;
    update pgqueue.seats s
    set wanted = greatest(c.missed, 1),
        taken = s.taken + case when l.concurrency is null and c.limit_id <> 0 then 0 else c.granted end,
        full_at = case when l.rate is not null and not l.sliding
                       then greatest(s.full_at, moment) + least(c.granted, l.longest) * (l.period / l.rate) else s.full_at end,
        free_at = case when c.missed = 0 or l.rate is null or c.tokens >= c.missed then null
                       when l.sliding then (select coalesce(min(t.at), moment) + l.period from pgqueue.starts t
                                            where t.limit_id = s.limit_id and t.key = s.key and t.at > moment - l.period)
                       else greatest(s.full_at, moment)
                            + least(c.granted + least(c.missed, coalesce(l.burst, 1)) - coalesce(l.burst, 1), l.longest)
                              * (l.period / l.rate) end
    from unnest(limit_ids, seat_keys, granted, missed, tokens) c(limit_id, key, granted, missed, tokens)
    left join (
        -- A job of a very large weight could occupy a slow rate for longer than a timestamp can say. So it does for at most a century.
        select o.*, floor(least(3.1e9 / date_part('epoch', o.period / o.rate), 2000000000))::integer as longest from pgqueue.limits o
    ) l on l.id = c.limit_id
    where s.limit_id = c.limit_id and s.key = c.key;
end
$function$;
