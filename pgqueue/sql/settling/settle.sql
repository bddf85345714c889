-- Writes outcomes of every kind, given as a JSON array. Returns the ids of the jobs that were still this worker's.
-- The fence, the index and the locks are those of complete.sql, which explains them. A pause also locks its row of `pauses`.
-- The ids are also compared as an array. With a join alone, the statement would read the whole index if the statistics were taken while the
-- table was empty.
-- If a job was asked to stop, but its attempt ended before it got the request, the job is cancelled instead of going back to the queue.
-- If an outcome is `paused`, all jobs with the job's concurrency_key pause for the outcome's delay. If the job has no key, all jobs of its
-- task pause. If the job has a key, its run_at does not change, so it keeps its place among the jobs of that key.
-- A job that goes back to the queue can no longer expire, because it has been started. But if no handler has seen the job yet, it can still
-- expire.
-- If the attempt was traced, the next attempt finds its span among the headers in trace_context (telemetry/tracing.py).
-- A finished job leaves jobs_live by a delete and an insert, never by an update that moves it to another partition. Such an update would
-- cause errors in other transactions that wait for a lock on the row.
-- `hooks` are the names of the hooks that this worker knows, in the form <task>:on_<event>. If an outcome concerns one of them, the
-- statement stores a job for that hook. This job is in a queue of its own, and has no key, order or limit. So a hook does not wait for the
-- slots and limits of the job's queue, and does not use them up.
-- If finished jobs are nodes of a workflow, the workflow is told (functions/resolve.sql). So the attempt of a node is settled here or by
-- complete_nodes.sql, and never by complete.sql.
-- Zero rows: all leases were lost.
with outcome as materialized (
    select o.id, o.lease_id, o.state, o.reason, o.delay, o.result, o.error, o.traceback, o.kept, o.counted, o.crashed,
           o.begun, o.paused, o.recounted, o.span, o.progress || jsonb_build_object('at', clock_timestamp()) as progress
    from jsonb_to_recordset(%(outcomes)s::jsonb) as o (
        id bigint, lease_id bigint, state text, reason text, delay float8, result jsonb,
        error text, traceback text, kept boolean, counted boolean, crashed boolean, begun boolean, paused boolean, recounted boolean, span text, progress jsonb)
), with_seats as materialized (
    select j.id, j.seats_taken, j.concurrency_key, j.queue from pgqueue.jobs_live j
    where j.id = any(array(select w.id from outcome w)) and j.seats_taken is not null
), finished as (
    delete from pgqueue.jobs_live j
    using outcome o
    where j.id = any(array(select w.id from outcome w)) and j.id = o.id and j.lease_id = o.lease_id and j.worker_id is not distinct from %(worker_id)s::bigint
      and j.state = 'running' and (o.state in ('completed', 'cancelled', 'dead') or j.cancel_requested)
    returning
        --+ ended j,
        j.crash_count + o.crashed::int as crash_count, j.cancel_requested,
        case when o.state in ('pending', 'retrying') then 'cancelled' else o.state end as state,
        case when o.state in ('pending', 'retrying') then 'cancelled' else o.reason end as reason,
        coalesce(o.progress, j.progress) as progress, o.result, coalesce(o.error, j.last_error) as last_error, o.traceback, o.error,
        o.kept, o.begun
), back as (
    update pgqueue.jobs_live j
    set state = o.state, worker_id = null, seats_taken = null,
        run_at = case when o.paused and j.concurrency_key is not null then j.run_at else clock_timestamp() + make_interval(secs => o.delay) end,
        attempt = case when o.recounted then 1 else j.attempt - (not o.counted)::int end, crash_count = j.crash_count + o.crashed::int,
        last_error = coalesce(o.error, j.last_error), expires_at = case when not o.begun then j.expires_at end,
        progress = coalesce(o.progress, j.progress),
        trace_context = case when o.span is null or jsonb_typeof(j.trace_context) <> 'object' or octet_length(j.trace_context::text) > 100000
                             then j.trace_context
                             else coalesce(j.trace_context, '{}') || jsonb_build_object('pgqueue-attempt', o.span) end
    from outcome o
    where j.id = any(array(select w.id from outcome w)) and j.id = o.id and j.lease_id = o.lease_id and j.worker_id is not distinct from %(worker_id)s::bigint
      and j.state = 'running' and o.state in ('pending', 'retrying') and o.id <> all(array(select f.id from finished f))
    returning j.id, j.lease_id, j.attempt, j.run_at, j.task, j.concurrency_key, o.state, o.reason, o.error, o.traceback, o.delay, o.paused,
        j.priority, j.trace_context,
        case when o.state = 'retrying' and array[(j.task || ':on_failed') collate "C", j.task || ':on_retry'] && %(hooks)s::text[]
             then to_jsonb(j) end as job
), done as (
    insert into pgqueue.jobs_done (
        --+ ended,
        finished_at, state, crash_count, cancel_requested, progress, last_error, result)
    select
        --+ ended f,
        clock_timestamp(), f.state, f.crash_count, f.cancel_requested, f.progress, f.last_error, f.result
    from finished f where f.kept and f.state <> 'dead'
), made_dead as (
    insert into pgqueue.jobs_dead (
        --+ ended,
        finished_at, state, crash_count, cancel_requested, progress, last_error, last_traceback)
    select
        --+ ended f,
        clock_timestamp(), f.state, f.crash_count, f.cancel_requested, f.progress, f.last_error, f.traceback
    from finished f where f.kept and f.state = 'dead'
), noted as (
    insert into pgqueue.transitions
        (job_id, lease_id, worker_id, run_at, attempt, from_state, to_state, reason, error, traceback)
    select f.id, f.lease_id, f.worker_id, null, f.attempt, 'running', f.state, f.reason, f.error, f.traceback
    from finished f where f.state <> 'completed'
    union all
    select b.id, b.lease_id, %(worker_id)s::bigint, b.run_at, b.attempt, 'running', b.state, b.reason, b.error, b.traceback
    from back b
), pausing as (
    insert into pgqueue.pauses as p (task, key, until)
    select case when b.concurrency_key is null then b.task else '' end, coalesce(b.concurrency_key, ''),
           clock_timestamp() + make_interval(secs => max(b.delay))
    from back b where b.paused group by 1, 2 order by 1, 2
    on conflict (task, key) do update set until = greatest(p.until, excluded.until)
), released as (
    select --+ giving_back h
    from with_seats h cross join lateral generate_series(1, cardinality(h.seats_taken), 2) i
    where h.seats_taken is not null
      and (h.id = any(array(select f.id from finished f)) or h.id = any(array(select b.id from back b)))
    having count(*) > 0
), told as (
    insert into pgqueue.jobs_live as h (stored_by_pgqueue, task, queue, priority, trace_context, args)
    select true, e.hook, 'pgqueue.hooks', e.priority, e.trace_context, pgqueue.hook_args(e.job, e.reason, e.error, e.traceback)
    from (
        select k.hook, f.priority, f.trace_context, to_jsonb(f) || jsonb_build_object('finished_at', clock_timestamp()) as job,
               f.reason, f.error, f.traceback
        from finished f
        join unnest(%(hooks)s::text[]) k (hook)
          on k.hook collate "C" = any(case f.state when 'completed' then array[f.task || ':on_completed']
                                                   when 'dead' then array[f.task || ':on_dead',
                                                                          case when f.begun then f.task || ':on_failed' end] end)
        union all
        select k.hook, b.priority, b.trace_context, b.job, b.reason, b.error, b.traceback
        from back b
        join unnest(%(hooks)s::text[]) k (hook) on k.hook collate "C" = any(array[b.task || ':on_failed', b.task || ':on_retry'])
        where b.state = 'retrying'
    ) e
    returning pgqueue.wake(h.queue)
), resolved as (
    select pgqueue.resolve(array_agg(f.id), array_agg(f.state), array_agg(f.result), array_agg(f.error)) as released
    from finished f where f.workflow_id is not null
    having count(*) > 0 and (select count(*) from back b) >= 0  -- nodes are locked after all rows of jobs
), waited as materialized (
    select --+ is_waited
)
select f.id, case when (select w.now from waited w) then pg_notify('pgqueue_finished', f.id::text)::text end,
    (select r.done::text from released r), (select r.released from resolved r)
from finished f
union all
select b.id, null, (select r.done::text from released r), null from back b
