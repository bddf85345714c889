-- Writes the outcomes of attempts that completed without a result. Nearly all outcomes are of this kind. For these, the statement does the
-- same as settle.sql, at a third of the cost.
-- Returns the ids of the jobs that were still this worker's. If a job's id is missing, the job was lost. If a job is not to be kept, its
-- row is only deleted.
-- The fence is the condition that keeps out writes under an old lease: the row must have this lease_id, must be under this worker, and
-- must still be running.
-- The worker is part of the fence for the following reason. A user's SQL can write a lease_id that is ahead of the clock. Each later claim
-- then counts it up by one. If a crash of the server undoes such a claim, the next claim has the same lease_id, and only the worker
-- differs.
-- Uses the index jobs_live_id_key: rows are found by id. The other conditions are written as expressions for which no index can be used.
-- There is no join, because with stale statistics a join reads the whole index. Instead `ids` is sorted, so that width_bucket() finds the
-- place of a row's id in it.
-- Locks the rows of this worker, which no other statement locks in bulk, then the seats that these jobs held
-- (functions/give_back_seats.sql).
-- The statement also runs in transactions of users, under their search path. So it qualifies all functions and operators of the server.
-- Zero rows: all leases were lost.
with finished as (
    delete from pgqueue.jobs_live j
    where j.id operator(pg_catalog.=) any(%(ids)s::bigint[])
      and j.lease_id operator(pg_catalog.=) (%(lease_ids)s::bigint[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])]
      and (j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and j.state operator(pg_catalog.=) 'running'
    returning
        --+ ended j,
        j.crash_count, j.cancel_requested, j.progress, j.last_error, j.seats_taken,
        (%(kept)s::boolean[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])] as kept
), done as (
    insert into pgqueue.jobs_done (
        --+ ended,
        finished_at, state, crash_count, cancel_requested, progress, last_error)
    select
        --+ ended f,
        pg_catalog.clock_timestamp(), 'completed', f.crash_count, f.cancel_requested, f.progress, f.last_error
    from finished f where f.kept
), released as (
    select --+ giving_back h
    from finished h cross join lateral pg_catalog.generate_series(1, pg_catalog.cardinality(h.seats_taken), 2) i
    where h.seats_taken is not null
    having pg_catalog.count(*) operator(pg_catalog.>) 0
), waited as materialized (
    select --+ is_waited
)
select f.id, case when (select w.now from waited w) then pg_catalog.pg_notify('pgqueue_finished', f.id::text)::text end,
    (select r.done::text from released r)
from finished f
