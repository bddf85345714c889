-- Lists due jobs to which a limit applies: of its queue, its task and its key, in the order in which they are claimed, at most 50.
-- Such a job can also wait for another reason, which pgqueue.why says for each job.
-- Looks at the first 5,000 jobs of the limit's queue that it finds by jobs_live_claim_idx and jobs_live_key_idx, or of any queue if the limit
-- has no queue. Locks nothing. Zero rows: no such job was found.
with l as materialized (
    select l.queue, l.task, l.key, l.per_key from pgqueue.limits l where l.id = %(limit_id)s::int
), found as materialized (
    (select j.id, j.task, j.queue, j.concurrency_key, j.run_at, j.priority
     from pgqueue.jobs_live j
     where j.state in ('pending', 'retrying') and (concurrency_key is not null or parked)
       and ((select l.queue from l) is null or j.queue = (select l.queue from l))
     limit 5000)
    union all
    (select j.id, j.task, j.queue, j.concurrency_key, j.run_at, j.priority
     from pgqueue.jobs_live j
     where j.state in ('pending', 'retrying') and j.concurrency_key is null and j.parked is null
       and ((select l.queue from l) is null or j.queue = (select l.queue from l))
       and not (select l.per_key from l)
     limit 5000)
)
select c.*, s.*
from (
    select f.id, f.task, f.queue, f.concurrency_key, f.run_at, f.priority
    from found f cross join l
    where f.run_at <= now() and (l.task is null or f.task = l.task) and (not l.per_key or f.concurrency_key is not null)
      and (l.key is null or f.concurrency_key = l.key)
    order by f.priority, f.run_at, f.id
    limit 50
) c
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where c.concurrency_key is not null and j.id = c.id limit 1
) s on true
order by c.priority, c.run_at, c.id
