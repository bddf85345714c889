-- Claims due jobs: marks up to `count` of them running under this worker and returns all that running and settling need.
-- Scans one lane (queue and priority) after the other in the given order, each from `since` on, by jobs_live_claim_idx.
-- Locks the claimed rows, skipping those that others have locked; an update of such a row never waits for a claim.
-- The CTE is materialized and rows are found again by ctid, which the row lock keeps in place, so that no plan can
-- claim more than asked. Arguments leave as text: one that cannot be decoded must not strand the batch.
-- A lease_id is the microsecond of its claim, or one more than the last: it grows also when a crash took the last claim back.
-- Not what has expired, is past its deadline, or was asked to stop while its last attempt ended: sweep.sql finishes those. Jobs
-- with a concurrency_key, or parked by a limit, are claim_limited.sql's, as is a whole lane under a limit, or while a task is paused,
-- whether this worker knows it yet or not. Jobs of tasks that this worker does not know stay where they are.
-- Zero rows: nothing is due in these lanes, or the lease
-- of this worker is over: what it claimed now would only be rescued from it.
with found as materialized (
    select j.spot
    from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(since)s::float8[], %(since_ids)s::bigint[])
        as lane (queue, priority, since, since_id)
    cross join lateral (
        select l.ctid as spot
        from pgqueue.jobs_live l
        where l.queue = lane.queue and l.priority = lane.priority and l.state in ('pending', 'retrying')
          and l.concurrency_key is null and l.parked is null
          and (l.run_at, l.id) >= (to_timestamp(lane.since), lane.since_id) and l.run_at <= now()
          and l.task = any(%(tasks)s::text[])
          and not l.cancel_requested
          and (l.expires_at is null or l.expires_at > now()) and (l.deadline_at is null or l.deadline_at > now())
        order by l.run_at, l.id
        limit %(count)s::int
        for update skip locked
    ) j
    where not exists (select from pgqueue.queues q where q.name = lane.queue and q.paused)
      and not exists (select from pgqueue.limits m where not m.per_key and (m.queue is null or m.queue = lane.queue))
      and not exists (select from pgqueue.pauses p where p.key = '' and p.until > now())
      and exists (select from pgqueue.workers w where w.id = %(worker_id)s::bigint and w.expires_at > clock_timestamp())
    limit %(count)s::int
)
update pgqueue.jobs_live j
set state = 'running', attempt = j.attempt + 1, worker_id = %(worker_id)s::bigint, started_at = clock_timestamp(),
    lease_id = greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)
where j.ctid = any(array(select f.spot from found f))
returning j.id, j.lease_id, j.queue, j.priority, j.task, j.args::text, j.attempt, j.max_attempts, j.crash_count,
    date_part('epoch', j.timeout), date_part('epoch', j.run_at), date_part('epoch', j.created_at),
    j.trace_context::text,
    pgqueue.extra(j.expires_at, j.deadline_at, j.progress, j.unique_key, j.tags, j.meta, j.ours), null::text as concurrency_key
