-- Finds the first due job of each lane (a queue and a priority), and of each key in a lane. For the oldest of these jobs in each queue, the
-- row also says whether a living worker serves the queue, and whether such a worker knows the job's task. If such workers exist, but none
-- accepts the version of the job's checkpoints, the row has that version. Each row also has the queue's
-- max_age: an alert is raised when a job of the queue has been due for longer. Leaves out paused queues.
-- A key is the job's concurrency_key, or the key of a parked job, which is made of its task (functions/due_by_key.sql).
-- Uses loose index scans of jobs_live_claim_idx and jobs_live_key_idx: two probes for each lane, and two for each task of a key. At most
-- 1000 lanes and at most 1000 tasks of keys are probed.
-- These limits can leave out keys. So the statement also returns, for each lane, the oldest due job that has a key (jobs_live_due_idx).
-- Locks nothing. The rows are sorted by queue and age. Zero rows: no job is due.
with recursive lanes as (
    (select j.queue::text, j.priority from pgqueue.jobs_live j
     where --+ claim_idx j
     order by j.queue, j.priority limit 1)
    union all
    select next.queue, next.priority
    from lanes s
    cross join lateral (
        select j.queue::text, j.priority from pgqueue.jobs_live j
        where --+ claim_idx j
          and (j.queue, j.priority) > (s.queue, s.priority)
        order by j.queue, j.priority limit 1
    ) next
), keys as (
    (select j.queue::text, j.priority, coalesce(j.concurrency_key, E'\x01' || j.task) as key, num_nonnulls(j.ordering) as ordered, j.task from pgqueue.jobs_live j
     where --+ key_idx j
     order by j.queue, j.priority, coalesce(j.concurrency_key, E'\x01' || j.task), num_nonnulls(j.ordering), j.task limit 1)
    union all
    select next.queue, next.priority, next.key, next.ordered, next.task
    from keys s
    cross join lateral (
        select j.queue::text, j.priority, coalesce(j.concurrency_key, E'\x01' || j.task) as key, num_nonnulls(j.ordering) as ordered, j.task from pgqueue.jobs_live j
        where --+ key_idx j
          and (j.queue, j.priority, coalesce(j.concurrency_key, E'\x01' || j.task), num_nonnulls(j.ordering), j.task)
              > (s.queue, s.priority, s.key, s.ordered, s.task)
        order by j.queue, j.priority, coalesce(j.concurrency_key, E'\x01' || j.task), num_nonnulls(j.ordering), j.task limit 1
    ) next
), due as (
    select l.queue, l.priority, null::text as key, first.id, first.task, first.run_at
    from (select lanes.queue, lanes.priority from lanes limit 1000) l
    cross join lateral (
        select j.id, j.task::text, j.run_at from pgqueue.jobs_live j
        where j.queue = l.queue and j.priority = l.priority and j.run_at <= now()
          and --+ claim_idx j
        order by j.run_at, j.id limit 1
    ) first
    union
    (select distinct on (k.queue, k.priority, k.key) k.queue, k.priority, k.key, first.id, first.task, first.run_at
     from (select keys.queue, keys.priority, keys.key, keys.ordered, keys.task from keys limit 1000) k
     cross join lateral (
         select j.id, j.task::text, j.run_at from pgqueue.jobs_live j
         where j.queue = k.queue and j.priority = k.priority
           and --+ key_idx j
           and coalesce(j.concurrency_key, E'\x01' || j.task) = k.key
           and num_nonnulls(j.ordering) = k.ordered and j.task = k.task and j.run_at <= now()
         order by j.run_at, j.id limit 1
     ) first
     order by k.queue, k.priority, k.key, first.run_at, first.id)
    union
    select k.queue, k.priority::smallint, first.key, first.id, first.task, first.run_at
    from pgqueue.lanes_in_turns() k
    cross join lateral (
        select coalesce(j.concurrency_key, E'\x01' || j.task) as key, j.id, j.task::text, j.run_at from pgqueue.jobs_live j
        where j.queue = k.queue and j.priority = k.priority and j.run_at <= now()
          and --+ due_idx j
        order by j.run_at limit 1
    ) first
), front as materialized (
    select d.queue, d.priority, d.key, d.id, d.task, d.run_at,
           row_number() over (partition by d.queue order by d.run_at, d.id) as rank
    from due d
), living as materialized (
    --+ living
)
select f.queue, f.priority::int, f.key, f.id, f.task, date_part('epoch', f.run_at::timestamptz),
       date_part('epoch', now() - f.run_at), date_part('epoch', q.max_age),
       coalesce(served.queue_served, false), coalesce(served.task_served, false), case when served.version_served is false then served.version end
from front f
left join pgqueue.queues q on q.name = f.queue
left join lateral (
    select count(*) > 0 as queue_served, bool_or(f.task = any(w.tasks)) as task_served, max(v.version) as version,
           bool_or(v.version is null or f.task || '@' || v.version = any(w.accepts)) filter (where f.task = any(w.tasks)) as version_served
    from living w
    left join (select j.version from pgqueue.jobs_live j where j.id = f.id limit 1) v on true
    where f.queue = any(w.queues) or f.queue like any(w.patterns)
) served on f.rank = 1
where not coalesce(q.paused, false)
order by f.queue, f.run_at, f.id
