-- Marks that a worker polls these queues quickly until `seconds` from now, so that enqueuing need not wake a worker (functions/wake.sql).
-- If `seconds` is 0, ends the mark, unless another worker has set a later mark than `mine`, which is the mark that this worker set.
-- Locks nothing. Returns (queue, mark) for the queues that it marked. A mark is a time in milliseconds of the epoch. Zero rows: another
-- worker has set a later mark.
select q.queue, setval(q.awake, (date_part('epoch', clock_timestamp()) * 1000 + %(seconds)s::float8 * 1000)::bigint)
from (select n.queue, ('pgqueue.awake_' || (hashtext(n.queue) & 63))::regclass as awake
      from unnest(%(queues)s::text[]) as n (queue)) q
where %(seconds)s::float8 > 0 or coalesce(pg_sequence_last_value(q.awake), 0) <= %(mine)s::bigint
