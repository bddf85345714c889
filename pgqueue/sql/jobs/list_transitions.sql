-- The history of one job, oldest first: what its row alone does not tell. Expects transitions_job_id_idx. Locks nothing.
select t.at, t.from_state, t.to_state, t.reason, t.attempt, t.lease_id, t.worker_id, t.run_at, t.error, t.traceback
from pgqueue.transitions t
where t.job_id = %(job_id)s::bigint
order by t.at
