-- Lists every queue with the counts of its unfinished and dead jobs and of the workers that serve it. Reads jobs_live once. Locks nothing.
select d.queue, d.paused, d.due, d.scheduled, d.waiting, d.running,
       extract(epoch from clock_timestamp() - d.oldest_due)::float8,
       (select count(*) from pgqueue.jobs_dead x where x.queue = d.queue),
       (select count(*) from pgqueue.workers w
        where pgqueue.is_served(d.queue, w.queues) and w.state in ('running', 'draining') and w.expires_at > clock_timestamp())
from pgqueue.queue_depth d
order by d.queue
