-- Takes or keeps the lease of the leader, who maintains (rescue, partitions, retention).
-- Locks the one row. Zero rows: another worker leads.
insert into pgqueue.leader as l (singleton, worker_id, expires_at)
values (true, %(worker_id)s::bigint, clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8))
on conflict (singleton) do update
    set worker_id = excluded.worker_id, expires_at = excluded.expires_at
    where l.worker_id = excluded.worker_id or l.expires_at < clock_timestamp()
returning l.worker_id
