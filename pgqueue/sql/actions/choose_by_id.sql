-- Reads the jobs with these ids, for an action. Locks nothing. An id without a job has no row.
select distinct on (j.id) j.id, j.task, j.state
from pgqueue.jobs j
where j.id = any(%(job_ids)s::bigint[])
order by j.id, j.finished_at nulls first
