-- Takes or renews the lease of the leader, the one worker that maintains: it rescues, fires schedules, raises alerts and purges.
-- Locks the only row of pgqueue.leader only if the lease is this worker's own or has run out. While another worker leads, only reads.
-- Returns one row: whether this worker leads now, and in how many seconds the lease that the statement found runs out. A worker that does
-- not lead runs the statement again after that time.
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
