-- Renews the lease of a worker and so of all its jobs. Returns its id. list_cancel_requests.sql tells which jobs were asked to stop.
-- Expects workers_pkey. Locks the worker's row and nothing else, so that no lock on jobs costs a lease.
-- Zero rows: the lease has run out, and every job that this worker holds is lost.
update pgqueue.workers w
set heartbeat_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8),
    state = %(state)s::text
where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
returning w.id
