-- Finds the ids of what find_lost_claims.sql returns. Expects jobs_live_worker_idx. Locks nothing. Zero rows: no answer was lost.
select j.id
from pgqueue.jobs_live j
where j.worker_id = %(worker_id)s::bigint and j.state = 'running' and j.id <> all(%(known)s::bigint[])
order by j.id
