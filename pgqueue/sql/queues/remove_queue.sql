-- Removes a queue if no job waits, runs or is dead in it, and no living worker names it. Locks its row.
-- One row: what keeps it (jobs, or living workers that name it), and whether it had a row.
with kept as (
    select (select count(*) from pgqueue.jobs_live j where j.queue = %(queue)s::text)
           + (select count(*) from pgqueue.jobs_dead j where j.queue = %(queue)s::text) as jobs,
           (select count(*) from pgqueue.workers w where %(queue)s::text = any(w.queues)
            and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()) as workers
), gone as (
    delete from pgqueue.queues q using kept k
    where q.name = %(queue)s::text and k.jobs = 0 and k.workers = 0
)
select k.jobs, k.workers, exists (select from pgqueue.queues q where q.name = %(queue)s::text)
from kept k
