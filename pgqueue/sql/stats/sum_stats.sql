-- Sums what happened between two times, for each queue or task if so asked: counts of attempts, and mean, p50, p95 and p99 of their times
-- to wait and to run. Returns at most `count` rows, those with the most attempts first.
-- Uses the index stats_pkey or stats_totals_pkey. Locks nothing. Zero rows: no worker has stored counts about that time.
with summed as materialized (
    select case when %(by_queue)s::boolean then s.queue::text end as queue, case when %(by_task)s::boolean then s.task::text end as task,
           --+ counted s,
           --+ summed_waits s
           as waits,
           --+ summed_runs s
           as runs
    from --+ source
    s
    group by 1, 2
    order by sum(s.started) + sum(s.completed) desc, 1, 2
    limit %(count)s::int
)
select s.queue, s.task, date_part('epoch', %(until)s::timestamptz - %(since)s::timestamptz),
       --+ described s
from summed s
cross join lateral (select pgqueue.quantiles(s.waits, 0.5, 0.95, 0.99) as found offset 0) w
cross join lateral (select pgqueue.quantiles(s.runs, 0.5, 0.95, 0.99) as found offset 0) r
order by s.started + s.completed desc, s.queue, s.task
