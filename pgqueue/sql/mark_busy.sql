-- Says that these queues are polled quickly until `seconds` from now, so that enqueuing need not wake anybody
-- (a NOTIFY takes a database-wide lock at commit). `seconds` = 0 takes it back, but not what another worker said after `mine`.
-- The flag is a sequence: visible at once, also to open transactions, and without dead rows under an old snapshot.
-- Queues share 64 flags; sharing one costs at most a wake-up that comes by the next poll.
-- Returns (queue, until) in milliseconds of the epoch for the queues it marked.
select q.name, setval(('pgqueue.busy_' || q.id %% 64)::regclass,
                      (extract(epoch from clock_timestamp()) * 1000 + %(seconds)s::float8 * 1000)::bigint)
from pgqueue.queues q
where q.name = any(%(queues)s::text[])
  and (%(seconds)s::float8 > 0
       or coalesce(pg_sequence_last_value(('pgqueue.busy_' || q.id %% 64)::regclass), 0) <= %(mine)s::bigint)
