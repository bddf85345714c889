-- Writes plain completions, nearly all of what is settled: no error, no result. It does what settle.sql does for every outcome, at a
-- third of the cost.
-- Returns the ids of the jobs that were still this worker's. A job that is missing was lost. If a job is not kept, its row is only
-- deleted.
-- The fence: only rows with this lease_id, under this worker, that are still running.
-- The worker is part of the fence, because SQL may have written a lease_id ahead of the clock. Such a lease_id counts up by one. Then,
-- after a crash of the server, two claims may have the same lease_id.
-- Expects jobs_live_id_key. Rows are found by id. The rest is checked on the row, in expressions that no index can be searched by.
-- There is no join, because under stale statistics a join reads the whole index. Instead `ids` is sorted, so a row's place in it is its
-- bucket.
-- Locks the rows of this worker, which no other statement locks in bulk, then the seats that they held (functions/give_back_seats.sql).
-- It also runs in transactions of users, under their search path, and therefore qualifies all functions and operators of the server.
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
