-- Ends the lease of a worker whose process is known to have ended, so that its jobs are rescued now. If the worker was the leader, it no
-- longer leads, and a notification tells the workers that could lead.
-- The worker's state stays: the rescue sets it to expired.
-- Uses the index workers_pkey. Locks the worker's row, then the leader's. Zero rows: the worker's lease had run out, or the worker had
-- stopped.
with ended as (
    update pgqueue.workers w set expires_at = clock_timestamp()
    where w.id = %(worker_id)s::bigint and w.pid = %(pid)s::int and w.state in ('running', 'draining')
      and w.expires_at > clock_timestamp()
    returning w.id
), resigned as (
    update pgqueue.leader l set expires_at = clock_timestamp()
    from ended b
    where l.worker_id = b.id and l.expires_at > clock_timestamp()
    returning l.worker_id
)
select b.id, (select pg_notify('pgqueue', 'elect leader')::text from resigned r) from ended b
