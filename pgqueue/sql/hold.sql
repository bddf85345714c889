-- Locks the row of a job that a handler is about to complete in its own transaction: from then on it stays ours.
-- Found by jobs_live_id_key. Zero rows: the lease was lost.
select j.id
from pgqueue.jobs_live j
where j.id = %(job_id)s::bigint and j.lease_id = %(lease_id)s::bigint and j.worker_id is not distinct from %(worker_id)s::bigint
  and j.state = 'running'
for update
