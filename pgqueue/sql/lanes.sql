-- Finds which lanes (a queue and a priority) hold unclaimed jobs, with the earliest run_at of each: one probe of
-- jobs_live_claim_idx for each known lane, from its `since` on, and one for each gap between the known priorities of a queue, where
-- there may be a lane that nobody knows yet. So it never walks the dead entries of what was claimed.
-- Locks nothing. Zero rows: there is nothing to claim, nor anything scheduled.
select k.queue, k.priority::int, date_part('epoch', first.run_at - clock_timestamp())
from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(since)s::float8[], %(since_ids)s::bigint[])
    as k (queue, priority, since, since_id)
cross join lateral (
    select j.run_at from pgqueue.jobs_live j
    where j.queue = k.queue and j.priority = k.priority and j.state in ('pending', 'retrying')
      and (j.run_at, j.id) >= (to_timestamp(k.since), k.since_id)
    order by j.run_at, j.id limit 1
) first
union all
select g.queue, first.priority::int, date_part('epoch', first.run_at - clock_timestamp())
from unnest(%(gap_queues)s::text[], %(lows)s::int[], %(highs)s::int[]) as g (queue, low, high)
cross join lateral (
    select j.priority, j.run_at from pgqueue.jobs_live j
    where j.queue = g.queue and j.priority > g.low and j.priority < g.high and j.state in ('pending', 'retrying')
    order by j.priority, j.run_at limit 1
) first
