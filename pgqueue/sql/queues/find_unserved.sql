-- Finds due jobs that no living worker will take, because no worker serves their queue, because no worker of the queue knows their task, or
-- because none of those that know it accepts the version of the jobs' checkpoints. Only in the last case, `version` is not null.
-- `is_quiet`: a worker of the queue is alive, but takes no more jobs, because it was asked to be quiet, or stops.
-- It is for `pgq doctor` and `pgq queues list`. Leaves out paused queues.
-- Reads jobs_live once. Locks nothing.
with due as materialized (
    select l.queue::text as queue, l.task::text as task, l.version, count(*) as jobs, min(l.run_at) as since
    from pgqueue.jobs_live l
    where l.state in ('pending', 'retrying') and l.run_at <= now()
    group by 1, 2, 3
), living as materialized (
    --+ living
)
select d.queue, d.task, d.jobs, extract(epoch from clock_timestamp() - d.since)::float8, w.queue_served, t.app,
       case when w.task_served then d.version end, w.is_quiet
from due d
left join pgqueue.tasks t on t.name = d.task
cross join lateral (
    select coalesce(bool_or(d.task = any(w.tasks)) filter (where w.state = 'running'), false) as task_served,
           count(*) filter (where w.state = 'running') > 0 as queue_served,
           coalesce(bool_or(d.version is null or d.task || '@' || d.version = any(w.accepts))
                    filter (where w.state = 'running' and d.task = any(w.tasks)), false) as version_served,
           coalesce(bool_or(w.state = 'draining' and d.task = any(w.tasks)), false) as is_quiet
    from living w
    where d.queue = any(w.queues) or d.queue like any(w.patterns)
) w
where not w.version_served and not exists (select from pgqueue.queues q where q.name = d.queue and q.paused)
order by 3 desc, 1, 2, d.version
limit 20
