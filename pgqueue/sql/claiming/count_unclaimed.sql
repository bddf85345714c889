-- Counts the due jobs and the running jobs of these queues and tasks, so that the caller can wait until none are left. Leaves out jobs for
-- which a user's SQL has set parked = false, because no claim takes them, and jobs of versions that are not in `tasks` (claim.sql). Reads all of jobs_live. Locks nothing. Returns one row.
select count(*) filter (where j.state in ('pending', 'retrying') and j.run_at <= statement_timestamp() and not coalesce(q.paused, false)),
       count(*) filter (where j.state = 'running')
from pgqueue.jobs_live j left join pgqueue.queues q on q.name = j.queue
where j.queue = any(%(queues)s::text[]) and j.task = any(%(tasks)s::text[])
  and (j.version is null or j.task || '@' || j.version = any(%(tasks)s::text[])) and j.parked is not false
