-- Renews the lease of a worker, and with it the worker's right to all its jobs. Returns the worker's id, and whether people ask something of it
-- (list_worker_requests.sql). list_cancel_requests.sql finds the jobs that were asked to stop.
-- Uses the indexes workers_pkey and worker_requests_worker_id_idx. Locks only the worker's row, so that a lock on a job cannot make the worker lose its lease.
-- Zero rows: the lease has run out, and every job that this worker runs is lost.
update pgqueue.workers w
set heartbeat_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8),
    state = %(state)s::text
where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
returning w.id, exists (select from pgqueue.worker_requests r where r.worker_id = w.id and r.answered_at is null)
