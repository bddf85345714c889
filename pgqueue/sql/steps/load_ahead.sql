-- Returns the checkpoints of jobs that have just been claimed, before their handlers ask for them. Returns at most `most` rows, so the
-- checkpoints of the last job can be incomplete. If the value of a checkpoint has more than `largest` bytes, or is compressed, it is null.
-- So the rows need little memory while the jobs wait for a slot.
-- `left_over` is how many seconds of a sleep are left.
-- Uses the primary key of checkpoints. Locks nothing. Zero rows: these jobs have no checkpoints.
select c.job_id, c.kind, c.name, c.key, c.fingerprint, c.lease_id, c.at,
       case when pg_column_size(c.value) <= %(largest)s::int and pg_column_compression(c.value) is null then c.value::text end as value,
       c.version,
       case c.kind when 'sleep' then date_part('epoch', (c.value ->> 'until')::timestamptz - clock_timestamp()) end as left_over
from pgqueue.checkpoints c
where c.job_id = any(%(ids)s::bigint[])
order by c.job_id
limit %(most)s::int
