-- Lists the transitions of one job, the oldest first. They are the part of its history that its row alone does not show. Uses the index
-- transitions_job_id_idx. Locks nothing.
select t.at, t.from_state, t.to_state, t.reason, t.attempt, t.lease_id, t.worker_id, t.run_at, t.error, t.traceback
from pgqueue.transitions t
where t.job_id = %(job_id)s::bigint
order by t.at
