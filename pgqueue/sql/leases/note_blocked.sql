-- Writes into a worker's row for how many seconds its event loop has been blocked, and by which jobs; null: the loop runs again.
-- Uses the index workers_pkey. Locks the worker's row. Zero rows: the worker has stopped or expired.
update pgqueue.workers w
set blocked_since = clock_timestamp() - make_interval(secs => %(seconds)s::float8),
    blocked_by = case when %(seconds)s::float8 is not null then %(job_ids)s::bigint[] end
where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining')
returning w.id
