-- Lists the jobs that one transaction enqueued: those with the same created_at as a job, because created_at is the time at which the
-- transaction began. Looks at ids that differ by at most 2,000 from the id of the job, so it can miss jobs of a very large transaction.
-- `enqueued_at` of each job is the same. `claimed_at` is the time of its first claim that is known. At most 200 jobs. Locks nothing.
-- Zero rows: the job is gone.
select j.id, j.queue, j.task, j.state, j.created_at, j.started_at, j.finished_at, j.run_at
from pgqueue.jobs j
where j.id between %(job_id)s::bigint - 2000 and %(job_id)s::bigint + 2000 and j.created_at = %(created_at)s::timestamptz
order by j.id
limit 200
