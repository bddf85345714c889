-- Writes plain completions, nearly all of what is settled: no error, no result. What settle.sql does for every outcome, in
-- a statement that costs a third of it. Returns the ids that were still ours; a job that is missing was lost.
-- The fence: only rows with this lease_id under this worker that are still running. The worker is part of it, because a
-- lease_id that SQL wrote ahead of the clock counts by one: then a crash of the server may give one number to two claims.
-- Rows are found by id (jobs_live_id_key), and the rest is checked on the row, in words that no index can be searched by.
-- No join, which under stale statistics reads the whole index: `ids` is sorted, so a row's place in it is its bucket.
-- Runs in the transactions of users too, and therefore qualifies all functions and operators of the server.
-- Locks the rows of this worker only, which no other statement locks in bulk, then the seats they held (functions/release.sql). The row of a job that is not kept just goes.
with finished as (
    delete from pgqueue.jobs_live j
    where j.id operator(pg_catalog.=) any(%(ids)s::bigint[])
      and j.lease_id operator(pg_catalog.=) (%(lease_ids)s::bigint[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])]
      and (j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and j.state operator(pg_catalog.=) 'running'
    returning j.id, j.lease_id, j.worker_id, j.run_at, j.created_at, j.started_at, j.priority, j.attempt, j.max_attempts,
        j.crash_count, j.cancel_requested, j.queue, j.task, j.unique_key, j.concurrency_key, j.weight, j.ordering, j.expires_at, j.deadline_at,
        j.timeout, j.tags, j.args,
        j.meta, j.trace_context, j.progress, j.last_error, j.holds, (%(kept)s::boolean[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])] as kept
), done as (
    insert into pgqueue.jobs_done
        (id, lease_id, worker_id, run_at, created_at, started_at, finished_at, priority, attempt, max_attempts, crash_count,
         cancel_requested, state, queue, task, unique_key, concurrency_key, weight, ordering, expires_at, deadline_at,
         timeout, tags, args, meta, trace_context,
         progress, last_error)
    select f.id, f.lease_id, f.worker_id, f.run_at, f.created_at, f.started_at, pg_catalog.clock_timestamp(), f.priority, f.attempt,
           f.max_attempts, f.crash_count, f.cancel_requested, 'completed', f.queue, f.task, f.unique_key, f.concurrency_key,
           f.weight, f.ordering, f.expires_at, f.deadline_at,
           f.timeout, f.tags, f.args, f.meta, f.trace_context, f.progress, f.last_error
    from finished f where f.kept
), released as (
    select pgqueue.release(pg_catalog.array_agg(h.holds[i]), pg_catalog.array_agg(coalesce(h.concurrency_key, '')),
                           pg_catalog.array_agg(h.holds[i operator(pg_catalog.+) 1]), pg_catalog.array_agg(h.queue::text)) as done
    from finished h cross join lateral pg_catalog.generate_series(1, pg_catalog.cardinality(h.holds), 2) i
    where h.holds is not null
    having pg_catalog.count(*) operator(pg_catalog.>) 0
), waited as materialized (
    select coalesce(pg_catalog.pg_sequence_last_value('pgqueue.waited_until'), 0)
           operator(pg_catalog.>) (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000) as now
)
select f.id, case when (select w.now from waited w) then pg_catalog.pg_notify('pgqueue_finished', f.id::text)::text end,
    (select r.done::text from released r)
from finished f
