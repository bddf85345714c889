-- Takes or keeps the lease of the leader, the worker that maintains (rescue, partitions, retention).
-- Locks the one row only if the lease is this worker's or over. While another worker leads, it only reads.
-- Returns one row: whether this worker leads, and the seconds until the lease is over. Then it is worth asking again.
with now_leading as materialized (
    select l.worker_id, l.expires_at from pgqueue.leader l
), elected as (
    insert into pgqueue.leader as l (singleton, worker_id, expires_at)
    select true, %(worker_id)s::bigint, clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8)
    where not exists (select from now_leading n where n.worker_id <> %(worker_id)s::bigint and n.expires_at >= clock_timestamp())
    on conflict (singleton) do update
        set worker_id = excluded.worker_id, expires_at = excluded.expires_at
        where l.worker_id = excluded.worker_id or l.expires_at < clock_timestamp()
    returning l.worker_id
)
select exists (select from elected),
       greatest(extract(epoch from (select n.expires_at from now_leading n) - clock_timestamp()), 0)::float8
