-- Lists what happened in each step of `step` seconds between two times: counts of attempts, and mean, p50, p95 and p99 of their times to
-- wait and to run. If so asked, there is a row for each queue or each task in a step. Returns at most `count` rows, the newest steps first.
-- A step without any attempt has no row. Steps begin at multiples of `step` from 1970 on.
-- Rows that are more than a day old cover an hour, so shorter steps then look empty between the full hours.
-- Uses the index stats_pkey or stats_totals_pkey. Locks nothing.
with summed as materialized (
    select to_timestamp(floor(date_part('epoch', s.at) / %(step)s::int) * %(step)s::int) as at,
           case when %(by_queue)s::boolean then s.queue::text end as queue, case when %(by_task)s::boolean then s.task::text end as task,
           --+ counted s,
           --+ summed_waits s
           as waits,
           --+ summed_runs s
           as runs
    from --+ source
    s
    group by 1, 2, 3
    order by 1 desc, 2, 3
    limit %(count)s::int
)
select s.at, s.queue, s.task,
       --+ described s
from summed s
cross join lateral (select pgqueue.quantiles(s.waits, 0.5, 0.95, 0.99) as found offset 0) w
cross join lateral (select pgqueue.quantiles(s.runs, 0.5, 0.95, 0.99) as found offset 0) r
order by s.at desc, s.queue, s.task
