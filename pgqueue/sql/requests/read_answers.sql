-- Reads the answers that workers have given to these requests. Uses the index worker_requests_pkey. Locks nothing.
-- Zero rows: none of the workers has answered yet.
select r.id, r.worker_id, r.answer
from pgqueue.worker_requests r
where r.id = any(%(request_ids)s::bigint[]) and r.answered_at is not null
