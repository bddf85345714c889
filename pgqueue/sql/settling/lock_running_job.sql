-- Locks the row of a job that a handler is about to complete in its own transaction. Until this transaction ends, no other session
-- can take the job.
-- Also prepares that transaction for the statements that settle the job, and for COMMIT (before_commit.sql).
-- After a COMMIT without an answer, another session runs this statement: it waits until the transaction in doubt has ended.
-- Uses the index jobs_live_id_key. Locks only this row. Zero rows: the lease was lost.
select j.id, pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true)
from pgqueue.jobs_live j
where j.id operator(pg_catalog.=) %(job_id)s::bigint and j.lease_id operator(pg_catalog.=) %(lease_id)s::bigint
  and (j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and j.state operator(pg_catalog.=) 'running'
for update
