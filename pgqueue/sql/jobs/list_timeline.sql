-- All that happened to one job, oldest first, with the workers that had it, by the view job_timeline. Locks nothing.
-- If no program can read a time, it is null. If several events have one time, the job was enqueued first, then claimed, then it ended.
select pgqueue.time_of(e.at), e.from_state, e.to_state, e.reason, e.attempt, e.worker_id, w.host, w.pid, e.error
from pgqueue.job_timeline e
left join pgqueue.workers w on w.id = e.worker_id
where e.job_id = %(job_id)s::bigint
order by e.at, e.from_state is not null, e.to_state <> 'running'
