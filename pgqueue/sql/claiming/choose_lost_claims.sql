-- Finds the ids of the jobs that find_lost_claims.sql would return: the running jobs of this worker other than `known`. Uses the index
-- jobs_live_worker_idx. Locks nothing. Zero rows: no answer of a claim was lost.
select j.id
from pgqueue.jobs_live j
where j.worker_id = %(worker_id)s::bigint and j.state = 'running' and j.id <> all(%(known)s::bigint[])
order by j.id
