-- Finds the jobs that the next rescue takes, up to `count`, of any worker whose lease ran out. Expects jobs_live_worker_idx. Locks nothing.
-- Zero rows: nothing to rescue.
select j.id
from pgqueue.workers w
cross join lateral (
    select l.id from pgqueue.jobs_live l where l.worker_id = w.id and l.state = 'running' limit %(count)s::int
) j
where w.expires_at < clock_timestamp()
order by w.id
limit %(count)s::int
