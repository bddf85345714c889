-- Deletes rows that are no longer needed, at most `count` of each kind, skipping locked rows:
--   idempotency keys that have expired (the key of a debounce stays until its job has ended);
--   workers that ended longer ago than the longest retention and have no job;
--   alerts that were resolved longer ago than the longest retention.
-- Returns (keys, workers): how many of each were deleted.
with keys as (
    delete from pgqueue.idempotency_keys k
    where (k.task, k.key) in (
        select o.task, o.key from pgqueue.idempotency_keys o
        where o.expires_at <= clock_timestamp()
          and not (starts_with(o.key, 'pgq:debounce:') and exists (select from pgqueue.jobs_live j where j.id = o.job_id))
        limit %(count)s::int for update skip locked)
    returning 1
), workers as (
    delete from pgqueue.workers w
    where w.id in (
        select o.id from pgqueue.workers o
        where o.state in ('stopped', 'expired')
          and o.stopped_at < clock_timestamp() - (select max(q.retention) from pgqueue.queues q)
          and not exists (select from pgqueue.jobs_live j where j.worker_id = o.id)
        limit %(count)s::int for update skip locked)
    returning 1
), alerts as (
    delete from pgqueue.alerts a
    where a.id in (
        select o.id from pgqueue.alerts o
        where o.resolved_at < clock_timestamp() - (select max(q.retention) from pgqueue.queues q)
          and coalesce(o.muted_until < clock_timestamp(), true)
        limit %(count)s::int for update skip locked)
)
select (select count(*) from keys), (select count(*) from workers)
