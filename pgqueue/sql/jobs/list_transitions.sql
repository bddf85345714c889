-- Lists the transitions of one job, the oldest first. They are the part of its history that its row alone does not show. Only the first row
-- has the documents of the job. Uses the index transitions_job_id_idx. Locks nothing.
select t.at, t.from_state, t.to_state, t.reason, t.attempt, t.lease_id, t.worker_id, t.run_at, t.error, t.traceback, s.*
from (
    select t.*, row_number() over (order by t.at) as position from pgqueue.transitions t where t.job_id = %(job_id)s::bigint
) t
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where t.position = 1 and j.id = t.job_id limit 1
) s on true
order by t.position
