-- The checkpoints of all jobs: the name of each step that was done, when and under which lease it was done, and the value that it returned.
create or replace view pgqueue.steps with (security_invoker) as
select c.job_id, c.name, c.key, c.kind, c.at, c.lease_id, c.worker_id, pg_column_size(c.value) as bytes, c.value, c.version
from pgqueue.checkpoints c
