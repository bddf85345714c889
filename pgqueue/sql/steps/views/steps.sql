-- The checkpoints of all jobs: what each job has done under a name, when, in which attempt, and with which value.
create or replace view pgqueue.steps with (security_invoker) as
select c.job_id, c.name, c.key, c.kind, c.at, c.lease_id, c.worker_id, pg_column_size(c.value) as bytes, c.value
from pgqueue.checkpoints c
