-- Counts the unfinished jobs of each queue, for pages that people look at often. Its cost has a limit, however many jobs there are.
-- If jobs_live has at most `pages` pages, the counts are exact. Otherwise, about so many pages are read, and the counts are estimates from
-- them: `is_exact` is false. But running jobs are always counted exactly, and due jobs without a key are counted up to 100.
-- Returns a row for each queue that has a row in `queues`, and for each other queue of which a job was seen.
-- Uses jobs_live_claim_idx and jobs_live_worker_idx. Locks nothing. Zero rows: there is no queue yet.
with size as materialized (
    select greatest(pg_relation_size('pgqueue.jobs_live') / current_setting('block_size')::int, 1) as pages
), part as materialized (
    select least(100.0, 100.0 * %(pages)s::int / s.pages) as percent from size s
), seen as materialized (
    select j.queue,
           count(*) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as due,
           count(*) filter (where j.state in ('pending', 'retrying') and j.run_at > now()) as scheduled,
           count(*) filter (where j.state = 'waiting') as waiting,
           min(j.run_at) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as oldest
    from pgqueue.jobs_live j tablesample system ((select p.percent from part p))
    group by j.queue
), runs as materialized (
    select j.queue, count(*) as running from pgqueue.jobs_live j where j.worker_id is not null group by j.queue
), living as materialized (
    --+ living
), named as materialized (
    select q.name, q.paused from pgqueue.queues q
    union all
    select s.queue, false from seen s where not exists (select from pgqueue.queues q where q.name = s.queue)
), asked as (
    select n.name as queue from named n
),
--+ serving
select n.name, n.paused, p.percent >= 100,
       case when p.percent >= 100 then coalesce(s.due, 0)
            when d.due <= 100 and coalesce(s.due, 0) = 0 then d.due
            else greatest(round(coalesce(s.due, 0) * 100 / p.percent), d.due) end::bigint,
       round(coalesce(s.scheduled, 0) * 100 / p.percent)::bigint,
       round(coalesce(s.waiting, 0) * 100 / p.percent)::bigint,
       coalesce(r.running, 0),
       extract(epoch from clock_timestamp() - least(s.oldest, d.oldest))::float8,
       coalesce(v.workers, 0)::bigint
from named n
cross join part p
left join seen s on s.queue = n.name
left join runs r on r.queue = n.name
left join serving v on v.queue = n.name
left join lateral (
    select count(*) as due, min(f.run_at) as oldest
    from (select j.run_at from pgqueue.jobs_live j
          where p.percent < 100 and j.queue = n.name and j.state in ('pending', 'retrying') and j.concurrency_key is null and j.parked is null
            and j.run_at <= now()
          order by j.priority, j.run_at, j.id limit 101) f
) d on true
order by n.name
