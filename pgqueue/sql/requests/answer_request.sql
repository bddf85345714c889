-- Stores the answer of a worker to a request. Uses the index worker_requests_pkey. Locks the row.
-- Zero rows: the request is no longer stored.
update pgqueue.worker_requests r
set answered_at = clock_timestamp(), answer = %(answer)s::text
where r.id = %(request_id)s::bigint and r.worker_id = %(worker_id)s::bigint and r.answered_at is null
returning r.id
