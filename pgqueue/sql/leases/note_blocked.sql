-- Says in a worker's row for how many seconds its loop has been blocked, and by which jobs; null: the loop runs again.
-- Expects workers_pkey. Locks the worker's row. Zero rows: its lease is over.
update pgqueue.workers w
set blocked_since = clock_timestamp() - make_interval(secs => %(seconds)s::float8),
    blocked_by = case when %(seconds)s::float8 is not null then %(job_ids)s::bigint[] end
where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining')
returning w.id
