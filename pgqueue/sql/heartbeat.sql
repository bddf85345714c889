-- Renews the lease of a worker and so of all its jobs, and returns those of them (id, lease_id) that were asked to stop.
-- Locks the worker's row only. Zero rows: the lease has run out, and every job this worker holds is lost.
with renewed as (
    update pgqueue.workers w
    set heartbeat_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8),
        state = %(state)s::text
    where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
    returning w.id
)
select r.id, array(select j.id from pgqueue.jobs_live j where j.worker_id = r.id and j.cancel_requested)
from renewed r
