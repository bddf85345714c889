-- Marks a worker stopped. Its leases end at once, so that a job it could not release is rescued without delay.
-- Locks the worker's row. Zero rows: it is unknown or was expired already.
update pgqueue.workers w
set state = 'stopped', stopped_at = clock_timestamp(), expires_at = clock_timestamp()
where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining')
returning w.id
