-- Lists the jobs that one call enqueued: those with the same created_at as a job. Jobs that the same transaction enqueued by other calls
-- have other times. Looks at ids that differ by at most 2,000 from the id of the job, so it can miss jobs of a very large call.
-- At most 200 jobs. Locks nothing. Zero rows: the job is gone.
select j.id, j.queue, j.task, j.state, j.created_at, j.started_at, j.finished_at, j.run_at
from pgqueue.jobs j
where j.id between %(job_id)s::bigint - 2000 and least(%(job_id)s::bigint, 9223372036854773807) + 2000 and j.created_at = %(created_at)s::timestamptz
order by j.id
limit 200
