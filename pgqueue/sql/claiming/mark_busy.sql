-- Says that a worker polls these queues quickly until `seconds` from now, so that enqueuing need not wake a worker (functions/wake.sql).
-- `seconds` = 0 takes that back, unless another worker has said so after `mine`.
-- Locks nothing. Returns (queue, until) in milliseconds of the epoch for the queues it marked. Zero rows: another worker spoke later.
select q.queue, setval(q.awake, (date_part('epoch', clock_timestamp()) * 1000 + %(seconds)s::float8 * 1000)::bigint)
from (select n.queue, ('pgqueue.awake_' || (hashtext(n.queue) & 63))::regclass as awake
      from unnest(%(queues)s::text[]) as n (queue)) q
where %(seconds)s::float8 > 0 or coalesce(pg_sequence_last_value(q.awake), 0) <= %(mine)s::bigint
