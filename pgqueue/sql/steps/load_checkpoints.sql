-- Returns all checkpoints of these jobs. Each value is returned as text, so that a value that Python cannot decode stops only its own job.
-- `left_over` is how many seconds of a sleep are left.
-- Uses the primary key of checkpoints. Locks nothing. Zero rows: these jobs have no checkpoints.
select c.job_id, c.kind, c.name, c.key, c.fingerprint, c.lease_id, c.at, c.value::text, c.version,
       case c.kind when 'sleep' then date_part('epoch', (c.value ->> 'until')::timestamptz - clock_timestamp()) end as left_over
from pgqueue.checkpoints c
where c.job_id = any(%(ids)s::bigint[])
order by c.job_id, c.name, c.key
