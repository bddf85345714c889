-- Adds counts to pgqueue.stats, and their sums to pgqueue.stats_totals. Each item of `deltas` has the minute `at` (epoch seconds), a queue, a task, counts, and two histograms.
-- A worker sends the counts of all its attempts by one such call every few seconds, so the call must not delay the worker's claims, which
-- use the same connection. Therefore it waits at most 50 ms for a lock. If the lock is not free by then, the call raises an error and adds
-- nothing, and the worker sends these counts later.
-- Locks the rows in the order of their key, so two workers that add to the same rows cannot block each other for good. No two items must
-- have the same minute, queue and task.
-- Returns the time of the database in epoch seconds.
create or replace function pgqueue.add_stats(deltas jsonb)
returns double precision
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '50ms'
as $function$
begin
    insert into pgqueue.stats as s (
        seconds, at, queue, task, started, completed, retried, dead, cancelled, put_back, crashed, wait_seconds, run_seconds, waits, runs)
    select 60, to_timestamp(d.at), d.queue, d.task, d.started, d.completed, d.retried, d.dead, d.cancelled, d.put_back, d.crashed,
           d.wait_seconds, d.run_seconds, d.waits, d.runs
    from jsonb_to_recordset(deltas) as d (
        at bigint, queue text, task text, started bigint, completed bigint, retried bigint, dead bigint, cancelled bigint, put_back bigint,
        crashed bigint, wait_seconds float8, run_seconds float8, waits integer[], runs integer[])
    order by d.at, d.queue collate "C", d.task collate "C"
    --+ adding s
    ;
    insert into pgqueue.stats_totals as s (
        seconds, at, queue, task, started, completed, retried, dead, cancelled, put_back, crashed, wait_seconds, run_seconds, waits, runs)
    select 60, to_timestamp(d.at), coalesce(d.queue, ''), coalesce(d.task, ''),
           --+ counted d,
           --+ summed_waits d
           ,
           --+ summed_runs d
    from jsonb_to_recordset(deltas) as d (
        at bigint, queue text, task text, started bigint, completed bigint, retried bigint, dead bigint, cancelled bigint, put_back bigint,
        crashed bigint, wait_seconds float8, run_seconds float8, waits integer[], runs integer[])
    group by grouping sets ((d.at), (d.at, d.queue), (d.at, d.task))
    order by coalesce(d.queue, '') collate "C", coalesce(d.task, '') collate "C", d.at
    --+ adding_totals s
    ;
    return extract(epoch from clock_timestamp());
end
$function$;
