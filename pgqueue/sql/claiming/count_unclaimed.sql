-- Counts the due and the running jobs of these queues and tasks: is there anything left to wait for?
-- Leaves out those that SQL has marked parked = false, which no claim takes. Reads all of jobs_live. Locks nothing. One row.
select count(*) filter (where j.state in ('pending', 'retrying') and j.run_at <= now() and not coalesce(q.paused, false)),
       count(*) filter (where j.state = 'running')
from pgqueue.jobs_live j left join pgqueue.queues q on q.name = j.queue
where j.queue = any(%(queues)s::text[]) and j.task = any(%(tasks)s::text[]) and j.parked is not false
