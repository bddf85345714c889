-- Takes back up to `count` jobs of workers whose lease ran out: to retrying, due at once; to dead when the attempts are
-- used up (attempts_exhausted) or the job has been there at too many crashes (crash_loop).
-- Locks the expired workers first: a heartbeat that arrives meanwhile waits, then finds itself expired, so the expiry that
-- was read stays true. Then the jobs, by jobs_live_worker_idx, skipping locked ones (being settled this moment).
-- `limit 1` instead of `exists`: the planner may turn the latter into a scan of the whole table.
-- Returns (id, task, state, worker_id). Zero rows: nothing to rescue.
with expired as materialized (
    select w.id
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
    select j.id
    from pgqueue.jobs_live j
    where j.worker_id = any(array(select e.id from expired e)) and j.state = 'running'
    order by j.id
    limit %(count)s::int
    for update skip locked
), verdict as materialized (
    select j.id, j.worker_id,
           case when j.crash_count + 1 >= %(crash_limit)s::int then 'crash_loop'
                when j.attempt >= j.max_attempts then 'attempts_exhausted'
                when j.cancel_requested then 'cancelled' end as final,
           format('worker %%s (%%s, pid %%s) died or lost its lease while it ran this job', w.id, w.host, w.pid) as error
    from lost l
    join pgqueue.jobs_live j on j.id = l.id
    join pgqueue.workers w on w.id = j.worker_id
), finished as (
    delete from pgqueue.jobs_live j
    using verdict v
    where j.id = v.id and v.final is not null
    returning j.*, v.final, v.error, case when v.final = 'cancelled' then 'cancelled' else 'dead' end as final_state
), back as (
    update pgqueue.jobs_live j
    set state = 'retrying', run_at = clock_timestamp(), worker_id = null, crash_count = j.crash_count + 1,
        last_error = v.error
    from verdict v
    where j.id = v.id and v.final is null
    returning j.id, j.task, j.lease_id, j.attempt, j.run_at, v.worker_id, v.error
), moved as (
    insert into pgqueue.jobs
        (id, lease_id, worker_id, run_at, created_at, started_at, finished_at, priority, attempt, max_attempts, crash_count,
         cancel_requested, state, queue, task, unique_key, concurrency_key, timeout, tags, args, meta, trace_context,
         progress, last_error)
    select f.id, f.lease_id, f.worker_id, f.run_at, f.created_at, f.started_at, clock_timestamp(), f.priority, f.attempt,
           f.max_attempts, f.crash_count + 1, f.cancel_requested, f.final_state, f.queue, f.task, f.unique_key,
           f.concurrency_key, f.timeout, f.tags, f.args, f.meta, f.trace_context, f.progress, f.error
    from finished f
), noted as (
    insert into pgqueue.transitions (job_id, lease_id, worker_id, run_at, attempt, from_state, to_state, reason, error)
    select b.id, b.lease_id, b.worker_id, b.run_at, b.attempt, 'running', 'retrying', 'rescued', b.error from back b
    union all
    select f.id, f.lease_id, f.worker_id, null, f.attempt, 'running', f.final_state, f.final, f.error from finished f
)
select b.id, b.task, 'retrying' as state, b.worker_id, pg_notify('pgqueue', '')::text from back b
union all
select f.id, f.task, f.final_state, f.worker_id, null from finished f
