-- Due jobs, jobs that will be due, and running ones of these queues and tasks: is there anything left to wait for?
-- Reads jobs_live. Locks nothing.
select count(*) filter (where j.state in ('pending', 'retrying') and j.run_at <= now() and not coalesce(q.paused, false)),
       count(*) filter (where j.state = 'running')
from pgqueue.jobs_live j left join pgqueue.queues q on q.name = j.queue
where j.queue = any(%(queues)s::text[]) and j.task = any(%(tasks)s::text[])
