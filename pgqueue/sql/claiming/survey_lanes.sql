-- Finds which lanes (a queue and a priority) hold unclaimed jobs, with the earliest run_at of each lane. Probes jobs_live_claim_idx once
-- for each known lane, from the lane's `since` on.
-- Also probes once for each gap between two known priorities of a queue, because there can be a lane in the gap that the worker does not
-- know yet. The dead index entries of claimed jobs are in known lanes, in front of `since`, so no probe walks them. Beside these `lane`
-- rows the statement returns:
--   an `in_turns` row for each lane, of any queue, in which a job that takes turns is due, with the position of the lane's first such job;
--   a `limited` row for each queue under a limit that is not by key (queue null: the limit is for all queues), and one more `limited` row,
--     with queue null, while a task is paused;
--   one `later` row with the seconds until the next job that takes turns is due, the next seat is free, or a pause ends, whichever comes
--     first.
-- Uses the indexes jobs_live_claim_idx and jobs_live_due_idx. Locks nothing. If there is no `lane` row and no `in_turns` row, there is
-- nothing to claim now.
with in_turns as materialized (
    select k.queue, k.priority, k.run_at, k.since, clock_timestamp() as moment from pgqueue.lanes_in_turns() k
)
select k.queue, k.priority::int, date_part('epoch', first.run_at - clock_timestamp()), 'lane' as kind, null as since
from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(since)s::float8[], %(since_ids)s::bigint[])
    as k (queue, priority, since, since_id)
cross join lateral (
    select j.run_at from pgqueue.jobs_live j
    where j.queue = k.queue and j.priority = k.priority
      and --+ claim_idx j
      and (j.run_at, j.id) >= (to_timestamp(k.since), k.since_id)
    order by j.run_at, j.id limit 1
) first
union all
select g.queue, first.priority::int, date_part('epoch', first.run_at - clock_timestamp()), 'lane', null
from unnest(%(gap_queues)s::text[], %(lows)s::int[], %(highs)s::int[]) as g (queue, low, high)
cross join lateral (
    select j.priority, j.run_at from pgqueue.jobs_live j
    where j.queue = g.queue and j.priority > g.low and j.priority < g.high
      and --+ claim_idx j
    order by j.priority, j.run_at limit 1
) first
union all
select k.queue, k.priority, null, 'in_turns', k.since from in_turns k where k.run_at <= k.moment
union all
select distinct l.queue::text, null::int, null::float8, 'limited', null from pgqueue.limits l where not l.per_key
union all
(select null, null, null, 'limited', null from pgqueue.pauses p where p.key = '' and p.until > statement_timestamp() limit 1)
union all
select null, null, date_part('epoch', least(
    (select min(n.run_at) from in_turns k cross join lateral (
        select j.run_at::timestamptz from pgqueue.jobs_live j
        where j.queue = k.queue and j.priority = k.priority
          and --+ due_idx j
          and j.run_at > k.moment
        order by j.run_at limit 1) n),
    (select s.free_at from pgqueue.seats s where s.free_at > statement_timestamp() order by s.free_at limit 1),
    (select min(p.until) from pgqueue.pauses p where p.until > statement_timestamp())) - clock_timestamp()), 'later', null
