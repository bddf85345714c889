-- Finds the lanes (queue, priority) that hold unclaimed jobs, with the earliest run_at of each: a loose scan of
-- jobs_live_claim_idx, one probe a lane, however many jobs lie in it. Locks nothing. Zero rows: these queues are empty.
with recursive lanes as (
    select q.queue, first.priority, first.run_at
    from unnest(%(queues)s::text[]) as q (queue)
    cross join lateral (
        select j.priority, j.run_at from pgqueue.jobs_live j
        where j.queue = q.queue and j.state in ('pending', 'retrying')
        order by j.priority, j.run_at limit 1
    ) first
    union all
    select l.queue, next.priority, next.run_at
    from lanes l
    cross join lateral (
        select j.priority, j.run_at from pgqueue.jobs_live j
        where j.queue = l.queue and j.state in ('pending', 'retrying') and j.priority > l.priority
        order by j.priority, j.run_at limit 1
    ) next
)
select l.queue, l.priority, date_part('epoch', l.run_at - clock_timestamp()) from lanes l
