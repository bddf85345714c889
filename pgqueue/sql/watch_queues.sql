-- The first due job of each lane (a queue and a priority), whether anybody would take it, and how old it may become: a loose
-- scan of jobs_live_claim_idx, two probes a lane. Locks nothing. Zero rows: nothing is due.
with recursive lanes as (
    (select j.queue::text, j.priority from pgqueue.jobs_live j
     where j.state in ('pending', 'retrying') order by j.queue, j.priority limit 1)
    union all
    select next.queue, next.priority
    from lanes s
    cross join lateral (
        select j.queue::text, j.priority from pgqueue.jobs_live j
        where j.state in ('pending', 'retrying') and (j.queue, j.priority) > (s.queue, s.priority)
        order by j.queue, j.priority limit 1
    ) next
)
select l.queue, l.priority::int, first.id, first.task, date_part('epoch', first.run_at),
       date_part('epoch', clock_timestamp() - first.run_at), date_part('epoch', q.max_age),
       served.queue_served, served.task_served
from (select lanes.queue, lanes.priority from lanes limit 1000) l
cross join lateral (
    select j.id, j.task, j.run_at from pgqueue.jobs_live j
    where j.queue = l.queue and j.priority = l.priority and j.state in ('pending', 'retrying') and j.run_at <= now()
    order by j.run_at, j.id limit 1
) first
left join pgqueue.queues q on q.name = l.queue
cross join lateral (
    select count(*) > 0 as queue_served, coalesce(bool_or(first.task = any(w.tasks)), false) as task_served
    from pgqueue.workers w
    where w.state in ('running', 'draining') and w.expires_at > clock_timestamp() and pgqueue.is_served(l.queue, w.queues)
) served
where not coalesce(q.paused, false)
