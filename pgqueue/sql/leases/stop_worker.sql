-- Marks a worker as stopped. Its lease ends immediately, so that a job that it could not release is rescued without delay. If the worker is
-- the leader, it no longer leads, and a notification tells the workers that could lead.
-- Locks the worker's row, then the leader's. Zero rows: there is no such worker, or it had stopped or expired already.
with stopped as (
    update pgqueue.workers w
    set state = 'stopped', stopped_at = clock_timestamp(), expires_at = clock_timestamp()
    where w.id = %(worker_id)s::bigint and w.state in ('running', 'draining')
    returning w.id
), resigned as (
    update pgqueue.leader l set expires_at = clock_timestamp()
    where l.worker_id = %(worker_id)s::bigint and l.expires_at > clock_timestamp()
    returning l.worker_id
)
select s.id, (select pg_notify('pgqueue', 'elect leader')::text from resigned r) from stopped s
