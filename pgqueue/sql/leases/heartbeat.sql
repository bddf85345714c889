-- Renews the lease of a worker, and with it the worker's right to all its jobs. Returns the worker's id. list_cancel_requests.sql finds the
-- jobs that were asked to stop.
-- Uses the index workers_pkey. Locks only the worker's row, so that a lock on a job cannot make the worker lose its lease.
-- Zero rows: the lease has run out, and every job that this worker runs is lost.
update pgqueue.workers w
set heartbeat_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8),
    state = %(state)s::text
where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
returning w.id
