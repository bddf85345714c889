-- Takes back up to `count` running jobs of workers whose lease has run out. A job becomes dead if it ran during too many crashes (reason
-- crash_loop), or if its attempts are used up (attempts_exhausted). It becomes cancelled if that was requested. Otherwise it becomes
-- retrying, and is due now. An attempt that has stored a checkpoint counts as attempt 1, as after any failure.
-- There are two kinds of running jobs. Jobs with a crash_count of 0 ran in the worker's own process. runner.py runs each of the other jobs
-- in a process of its own, so such a job normally does not end the worker's process.
-- If a worker crashes, the crash counts for its jobs of the first kind. If it ran only jobs of the second kind, the crash counts for these.
-- Otherwise a job that kills its worker would be tried for ever.
-- If several batches are needed, each batch must still see that the worker ran a job of the first kind. So one such job (`keeper`) is taken
-- last. It is appended at the end instead of sorted, because a sort would read all jobs of the worker for each batch.
-- Locks the expired workers first, by id. A heartbeat that arrives in the meantime waits, and then finds that its worker has expired. So a
-- worker that was read as expired stays expired. Then locks the jobs, skipping locked ones (their worker is settling them at this moment),
-- then their seats.
-- Uses the index jobs_live_worker_idx. If ANALYZE ran while the queue was empty, the planner expects one row, and would read the whole
-- table. So the statement uses `limit 1` instead of `exists`, and a LATERAL scan for each worker. It finds rows again without a join, by
-- ctid, which cannot change while a row is locked.
-- If `only` is not null, rescues only jobs with these ids.
-- If the dead worker or a living worker knows a hook of the job, stores a job for that hook, as settle.sql does.
-- Returns (id, task, state, worker_id). Zero rows: there is nothing to rescue.
with expired as materialized (
    select w.id,
        (select j.id from pgqueue.jobs_live j where j.worker_id = w.id and j.state = 'running' and j.crash_count = 0 limit 1) as keeper
    from pgqueue.workers w
    where w.expires_at < clock_timestamp()
      and (w.state in ('running', 'draining')
           or (select true from pgqueue.jobs_live j where j.worker_id = w.id limit 1))
    order by w.id
    for update skip locked
), marked as (
    update pgqueue.workers w set state = 'expired', stopped_at = clock_timestamp()
    from expired e where w.id = e.id and w.state in ('running', 'draining')
), lost as materialized (
    select j.ctid as spot, j.id, j.worker_id, j.lease_id, j.attempt, j.max_attempts, j.crash_count, j.cancel_requested,
        j.seats_taken, j.queue, j.concurrency_key,
        (j.crash_count = 0 or e.keeper is null)::int as charged
    from expired e
    cross join lateral (
        select o.* from (
            select l.ctid, l.id, l.worker_id, l.lease_id, l.attempt, l.max_attempts, l.crash_count, l.cancel_requested, l.seats_taken, l.queue,
                l.concurrency_key
            from pgqueue.jobs_live l
            where l.worker_id = e.id and l.state = 'running' and l.id is distinct from e.keeper
              and (%(only)s::bigint[] is null or l.id = any(%(only)s::bigint[]))
            limit %(count)s::int
            for update skip locked
        ) o
        union all
        select k.* from (
            select l.ctid, l.id, l.worker_id, l.lease_id, l.attempt, l.max_attempts, l.crash_count, l.cancel_requested, l.seats_taken, l.queue,
                l.concurrency_key
            from pgqueue.jobs_live l
            where l.id = e.keeper and l.worker_id = e.id and l.state = 'running'
              and (%(only)s::bigint[] is null or l.id = any(%(only)s::bigint[]))
            for update skip locked
        ) k
    ) j
    limit %(count)s::int
), counted as materialized (
    select l.*, case when (select true from pgqueue.checkpoints c where c.job_id = l.id and c.lease_id = l.lease_id limit 1)
                     then 1 else l.attempt end as counts_as
    from lost l
), judged as materialized (
    select l.spot, l.id, l.worker_id, l.charged, l.counts_as,
           case when l.crash_count + l.charged >= %(crash_limit)s::int then 'crash_loop'
                when l.counts_as >= l.max_attempts then 'attempts_exhausted'
                when l.cancel_requested then 'cancelled' end as final,
           format('worker %%s (%%s, pid %%s) died or lost its lease while it ran this job', w.id, w.host, w.pid) as error
    from counted l
    join pgqueue.workers w on w.id = l.worker_id
), finished as (
    delete from pgqueue.jobs_live j
    where j.ctid = any(array(select v.spot from judged v where v.final is not null))
    returning j.*, (select v.final from judged v where v.id = j.id), (select v.error from judged v where v.id = j.id),
        (select v.charged from judged v where v.id = j.id)
), back as (
    update pgqueue.jobs_live j
    set state = 'retrying', run_at = clock_timestamp(), worker_id = null, seats_taken = null, crash_count = j.crash_count + (select v.charged from judged v where v.id = j.id),
        attempt = (select v.counts_as from judged v where v.id = j.id), expires_at = null,
        last_error = (select v.error from judged v where v.id = j.id)
    where j.ctid = any(array(select v.spot from judged v where v.final is null))
    returning j.id, j.queue, j.task, j.lease_id, j.attempt, j.run_at, (select v.worker_id from judged v where v.id = j.id),
        j.last_error as error, to_jsonb(j) as job
), moved as (
    insert into pgqueue.jobs (
        --+ ended,
        finished_at, state, crash_count, cancel_requested, progress, last_error)
    select
        --+ ended f,
        clock_timestamp(), case f.final when 'cancelled' then 'cancelled' else 'dead' end, f.crash_count + f.charged, f.cancel_requested,
        f.progress, f.error
    from finished f
), noted as (
    insert into pgqueue.transitions (job_id, lease_id, worker_id, run_at, attempt, from_state, to_state, reason, error)
    select b.id, b.lease_id, b.worker_id, b.run_at, b.attempt, 'running', 'retrying', 'rescued', b.error from back b
    union all
    select f.id, f.lease_id, f.worker_id, null, f.attempt, 'running', case f.final when 'cancelled' then 'cancelled' else 'dead' end, f.final, f.error from finished f
), released as (
    select --+ giving_back h
    from lost h cross join lateral generate_series(1, cardinality(h.seats_taken), 2) i
    where h.seats_taken is not null
    having count(*) > 0
), resolved as (
    select pgqueue.resolve(array_agg(f.id), array_agg(case f.final when 'cancelled' then 'cancelled' else 'dead' end),
                           array_agg(f.result), array_agg(f.error)) as released
    from finished f where f.workflow_id is not null
    having count(*) > 0
), told as (
    insert into pgqueue.jobs_live as h (stored_by_pgqueue, task, queue, priority, trace_context, args)
    select true, k.hook, 'pgqueue.hooks', (e.job ->> 'priority')::smallint, nullif(e.job -> 'trace_context', 'null'),
           pgqueue.hook_args(e.job, e.reason, e.error, null)
    from (
        select b.job, 'rescued' as reason, b.error, b.worker_id, array['stalled', 'failed', 'retry'] as events from back b
        union all
        select to_jsonb(f) || jsonb_build_object(
                   'state', case f.final when 'cancelled' then 'cancelled' else 'dead' end, 'last_error', f.error,
                   'crash_count', f.crash_count + f.charged, 'finished_at', clock_timestamp()),
               f.final, f.error, f.worker_id,
               case f.final when 'cancelled' then array['stalled'] else array['stalled', 'failed', 'dead'] end
        from finished f
    ) e
    cross join lateral (select (e.job ->> 'task') || ':on_' || v.event from unnest(e.events) v (event)) k (hook)
    where exists (select from pgqueue.workers w
                  where k.hook = any(w.tasks)
                    and (w.id = e.worker_id or w.state in ('running', 'draining') and w.expires_at > clock_timestamp()))
    returning pgqueue.wake(h.queue)
)
select b.id, b.task, 'retrying' as state, b.worker_id, b.queue, pg_notify('pgqueue', '')::text,
    (select r.done::text from released r), null
from back b
union all
select f.id, f.task, case f.final when 'cancelled' then 'cancelled' else 'dead' end, f.worker_id, f.queue, null,
    (select r.done::text from released r), (select r.released from resolved r)
from finished f
