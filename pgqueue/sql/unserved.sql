-- Due jobs that no living worker will take: their queue or their task is served by none. For `pgq doctor`. A paused queue is to wait.
-- Reads jobs_live. Locks nothing.
select j.queue, j.task, count(*), extract(epoch from clock_timestamp() - min(j.run_at))::float8,
       bool_or(w.queue_served)
from (select l.queue, l.task, l.run_at from pgqueue.jobs_live l
      where l.state in ('pending', 'retrying') and l.run_at <= now()
        and not exists (select from pgqueue.queues q where q.name = l.queue and q.paused)) j
cross join lateral (
    select coalesce(bool_or(j.task = any(w.tasks)), false) as task_served, count(*) > 0 as queue_served
    from pgqueue.workers w
    where w.state in ('running', 'draining') and w.expires_at > clock_timestamp() and pgqueue.is_served(j.queue, w.queues)
) w
where not w.task_served
group by j.queue, j.task
order by 3 desc
limit 20
