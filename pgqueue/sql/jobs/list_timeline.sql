-- Lists all that happened to one job, the oldest first, with the workers that had it, from the view job_timeline. Locks nothing.
-- A time that programs cannot read is null. If several events have the same time, the order is: enqueued, claimed, ended.
select pgqueue.time_of(e.at), e.from_state, e.to_state, e.reason, e.attempt, e.worker_id, w.host, w.pid, e.error
from pgqueue.job_timeline e
left join pgqueue.workers w on w.id = e.worker_id
where e.job_id = %(job_id)s::bigint
order by e.at, e.from_state is not null, e.to_state <> 'running'
