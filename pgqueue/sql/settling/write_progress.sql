-- Writes the progress of running jobs of this worker, with the time. `written` is a JSON array of objects (id, lease_id, progress).
-- The fence, the index and the locks of rows are those of complete.sql, which explains them. Returns the ids of the jobs that were still
-- this worker's.
-- Zero rows: all leases were lost.
with written as materialized (
    select r.id, r.lease_id, r.progress
    from jsonb_to_recordset(%(written)s::jsonb) as r (id bigint, lease_id bigint, progress jsonb)
)
update pgqueue.jobs_live j
set progress = r.progress || jsonb_build_object('at', clock_timestamp())
from written r
where j.id = any(array(select w.id from written w)) and j.id = r.id and j.lease_id = r.lease_id
  and j.worker_id is not distinct from %(worker_id)s::bigint and j.state = 'running'
returning j.id
