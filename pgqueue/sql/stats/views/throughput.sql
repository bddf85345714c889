-- What happened to the attempts of each queue and task in each minute, for people who draw charts with SQL. Rows of minutes that are more
-- than a day old are hours: `seconds` is 60 or 3600. Times are in seconds. The p50 and the p95 are estimates (functions/quantiles.sql).
-- docs/stats.md explains the columns.
create or replace view pgqueue.throughput with (security_invoker) as
    select s.at, s.seconds, s.queue::text as queue, s.task::text as task, s.started, s.completed, s.retried, s.dead, s.cancelled,
           s.put_back, s.crashed, s.completed / s.seconds::float8 as completed_per_second,
           s.wait_seconds / nullif(s.started, 0) as wait_mean, w.found[1] as wait_p50, w.found[2] as wait_p95,
           s.run_seconds / nullif((select sum(b.n) from unnest(s.runs) b (n)), 0) as run_mean, r.found[1] as run_p50, r.found[2] as run_p95
    from pgqueue.stats s
    cross join lateral (select pgqueue.quantiles(s.waits, 0.5, 0.95) as found offset 0) w
    cross join lateral (select pgqueue.quantiles(s.runs, 0.5, 0.95) as found offset 0) r;
