-- Locks the row of a job that a handler is about to complete in its own transaction. From then on no other session can take the job.
-- Also sets the search path of that transaction, for the statements that settle the job (pin_search_path.sql).
-- Uses the index jobs_live_id_key. Locks only this row. Zero rows: the lease was lost.
select j.id, pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
from pgqueue.jobs_live j
where j.id operator(pg_catalog.=) %(job_id)s::bigint and j.lease_id operator(pg_catalog.=) %(lease_id)s::bigint
  and (j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and j.state operator(pg_catalog.=) 'running'
for update
