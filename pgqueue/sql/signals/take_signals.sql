-- Decides waits for signals: takes the signal that each of them waits for, or finds that its time-out has passed
-- (functions/take_signals.sql). Returns one row for each item of `items`, with the rank of the item, counted from 1.
-- Also returns the checkpoints of the jobs `loads`, as load_checkpoints.sql does, as they were before this statement: rows with the word
-- `known` and without a rank.
select t.rank, t.what, t.kind, t.held_lease, t.value, t.asked, null::bigint as job_id, null::text as name, null::text as key,
       null::bigint as fingerprint, null::timestamptz as at, null::smallint as version, null::float8 as left_over
from pgqueue.take_signals(%(items)s::jsonb) t
union all
select null, 'known', c.kind, c.lease_id, c.value::text, null, c.job_id, c.name, c.key, c.fingerprint, c.at, c.version,
       case c.kind when 'sleep' then date_part('epoch', (c.value ->> 'until')::timestamptz - clock_timestamp()) end
from pgqueue.checkpoints c
where c.job_id = any(%(loads)s::bigint[])
