-- Lists every queue with the counts of its unfinished and dead jobs and of the workers that serve it. Reads jobs_live once. Locks nothing.
with asked as materialized (
    select d.queue, d.paused, d.due, d.scheduled, d.waiting, d.running, d.oldest_due from pgqueue.queue_depth d
), living as materialized (
    --+ living
),
--+ serving
select d.queue, d.paused, d.due, d.scheduled, d.waiting, d.running,
       extract(epoch from clock_timestamp() - d.oldest_due)::float8,
       (select count(*) from pgqueue.jobs_dead x where x.queue = d.queue),
       coalesce(v.workers, 0)::bigint
from asked d
left join serving v on v.queue = d.queue
order by d.queue
