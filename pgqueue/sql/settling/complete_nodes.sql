-- Writes the outcomes of attempts of nodes that completed, and tells the workflows (functions/resolve.sql). It does the same as settle.sql,
-- at a fraction of the cost. `results` has a result or null for each job, or is empty if no job has a result.
-- Apart from the results and the workflows, the statement is that of complete.sql, whose head explains the fence, the index, the locks and the
-- qualified names. The workflows come last, after the finished jobs are written, because other workers can wait for the same counters until
-- COMMIT.
-- Zero rows: all leases were lost.
with finished as (
    delete from pgqueue.jobs_live j
    where j.id operator(pg_catalog.=) any(%(ids)s::bigint[])
      and j.lease_id operator(pg_catalog.=) (%(lease_ids)s::bigint[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])]
      and (j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and j.state operator(pg_catalog.=) 'running'
    returning
        --+ ended j,
        j.crash_count, j.cancel_requested, j.progress, j.last_error, j.seats_taken,
        (%(kept)s::boolean[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])] as kept,
        ((%(results)s::text[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])])::jsonb as result
), done as (
    insert into pgqueue.jobs_done (
        --+ ended,
        finished_at, state, crash_count, cancel_requested, progress, last_error, result)
    select
        --+ ended f,
        pg_catalog.clock_timestamp(), 'completed', f.crash_count, f.cancel_requested, f.progress, f.last_error, f.result
    from finished f where f.kept
    returning 1
), released as (
    select --+ giving_back h
    from finished h cross join lateral pg_catalog.generate_series(1, pg_catalog.cardinality(h.seats_taken), 2) i
    where h.seats_taken is not null
    having pg_catalog.count(*) operator(pg_catalog.>) 0
), resolved as (
    select pgqueue.resolve(pg_catalog.array_agg(f.id), pg_catalog.array_agg('completed'::text), pg_catalog.array_agg(f.result), '{}') as released
    from finished f where f.workflow_id is not null
    having pg_catalog.count(*) operator(pg_catalog.>) 0 and (select pg_catalog.count(*) from done) operator(pg_catalog.>=) 0
), waited as materialized (
    select --+ is_waited
)
select f.id, case when (select w.now from waited w) then pg_catalog.pg_notify('pgqueue_finished', f.id::text)::text end,
    (select r.done::text from released r), (select r.released from resolved r)
from finished f
