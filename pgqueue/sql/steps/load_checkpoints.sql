-- Returns all checkpoints of these jobs. Each value is returned as text, so that a value that Python cannot decode stops only its own job.
-- Uses the primary key of checkpoints. Locks nothing. Zero rows: these jobs have no checkpoints.
select c.job_id, c.kind, c.name, c.key, c.fingerprint, c.lease_id, c.at, c.value::text, c.version
from pgqueue.checkpoints c
where c.job_id = any(%(ids)s::bigint[])
order by c.job_id, c.name, c.key
