-- Lists all that happened to one job, the oldest first, with the workers that had it, from the view job_timeline. Only the first row has the
-- documents of the job. Locks nothing.
-- A time that programs cannot read is null. If several events have the same time, the order is: enqueued, claimed, ended.
select pgqueue.time_of(e.at), e.from_state, e.to_state, e.reason, e.attempt, e.worker_id, w.host, w.pid, e.error, s.*
from (
    select t.*, row_number() over (order by t.at, t.from_state is not null, t.to_state <> 'running') as position
    from pgqueue.job_timeline t where t.job_id = %(job_id)s::bigint
) e
left join pgqueue.workers w on w.id = e.worker_id
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where e.position = 1 and j.id = e.job_id limit 1
) s on true
order by e.position
