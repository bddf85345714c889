-- Finds the ids of the jobs that the next rescue takes back, at most `count`, of all workers whose lease has run out. Uses the index
-- jobs_live_worker_idx. Locks nothing.
-- Zero rows: there is nothing to rescue.
select j.id
from pgqueue.workers w
cross join lateral (
    select l.id from pgqueue.jobs_live l where l.worker_id = w.id and l.state = 'running' limit %(count)s::int
) j
where w.expires_at < clock_timestamp()
order by w.id
limit %(count)s::int
