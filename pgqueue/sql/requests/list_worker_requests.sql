-- Lists what this worker was asked and has not answered yet. A worker runs this if its heartbeat finds requests, and after a notification.
-- Uses the index worker_requests_worker_id_idx. Locks nothing. Zero rows: nothing was asked.
select r.id, r.request
from pgqueue.worker_requests r
where r.worker_id = %(worker_id)s::bigint and r.answered_at is null
order by r.id
limit 10
