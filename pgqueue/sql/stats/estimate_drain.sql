-- For each queue, says how many jobs are due, and how many jobs a second were started and became due in the last minutes. From these, the
-- caller estimates when the queue will be empty.
-- `queue`: only this queue; null: all queues. `seconds`: how much time to look back at. For a queue whose first start of this time was later, the time begins with that start.
-- Jobs that became due in this time, and were started in it: the share of the started jobs whose wait was shorter than this time had
-- lasted, taken from the histograms of pgqueue.stats. Jobs that became due in this time, and still are: read from the end of each lane.
-- Reads at most 10,000 due jobs of a lane, and at most 30,000 of all lanes, or 50 of each if there are more than 600 lanes. If a lane has more, the
-- number of its queue's jobs is estimated from about 1,000 pages of jobs_live (`is_exact` is false), and the rate at which its jobs become
-- due is that of the jobs that were read.
-- Uses jobs_live_claim_idx, jobs_live_due_idx and stats_pkey. Locks nothing. Zero rows: no job is due, and none was started lately.
with recursive lanes as (
    (select j.queue::text, j.priority from pgqueue.jobs_live j
     where --+ claim_idx j
       and (%(queue)s::text is null or j.queue = %(queue)s::text)
     order by j.queue, j.priority limit 1)
    union all
    select next.queue, next.priority
    from lanes s
    cross join lateral (
        select j.queue::text, j.priority from pgqueue.jobs_live j
        where --+ claim_idx j
          and (j.queue, j.priority) > (s.queue, s.priority) and (%(queue)s::text is null or j.queue = %(queue)s::text)
        order by j.queue, j.priority limit 1
    ) next
), begun as materialized (
    select s.queue::text, min(s.at) as at, sum(s.started)::bigint as started from pgqueue.stats s
    where s.seconds = 60 and s.at >= date_trunc('minute', now() - make_interval(secs => %(seconds)s::float8)) and s.started > 0
      and (%(queue)s::text is null or s.queue = %(queue)s::text)
    group by s.queue
), waited as (
    select s.queue::text, s.at,
           --+ summed_waits s
           as waits
    from pgqueue.stats s
    where s.seconds = 60 and s.at >= date_trunc('minute', now() - make_interval(secs => %(seconds)s::float8)) and s.started > 0
      and (%(queue)s::text is null or s.queue = %(queue)s::text)
    group by s.queue, s.at
), arrived as (  -- those that were started
    select w.queue, sum(h.n * greatest(0, least(1, log(2, (date_part('epoch', w.at - b.at) + 30)::numeric)::float8 - (h.i - 15)))) as count
    from waited w join begun b on b.queue = w.queue
    cross join lateral unnest(w.waits) with ordinality h (n, i)
    where h.n > 0
    group by w.queue
), every_lane as materialized (
    select l.queue, l.priority, false as in_turns from (select lanes.queue, lanes.priority from lanes limit 1000) l
    union all
    select t.queue, t.priority::smallint, true from pgqueue.lanes_in_turns() t
    where %(queue)s::text is null or t.queue = %(queue)s::text
), most as materialized (
    select least(10000, greatest(50, 30000 / greatest(count(*), 1))) as jobs from every_lane
), found as materialized (
    select p.queue, n.due, n.due >= m.jobs as is_cut,
           n.recent / greatest(date_part('epoch', now() - case when n.recent >= m.jobs then n.first else b.at end), 1) as per_second
    from every_lane p
    cross join most m
    left join begun b on b.queue = p.queue
    cross join lateral (
        select count(*) as due, count(*) filter (where f.run_at >= b.at) as recent, min(f.run_at) as first
        from (
            (select j.run_at::timestamptz from pgqueue.jobs_live j
             where not p.in_turns and j.queue = p.queue and j.priority = p.priority and j.run_at <= now()
               and --+ claim_idx j
             order by j.run_at desc, j.id desc limit m.jobs)
            union all
            (select j.run_at::timestamptz from pgqueue.jobs_live j
             where p.in_turns and j.queue = p.queue and j.priority = p.priority and j.run_at <= now()
               and --+ due_idx j
             order by j.run_at desc, j.id desc limit m.jobs)
        ) f
    ) n
), part as materialized (
    select case when (select bool_or(f.is_cut) from found f)
                then least(100, 100.0 * 1000 * current_setting('block_size')::int / greatest(pg_relation_size('pgqueue.jobs_live'), 1)) else 0 end as percent
), sampled as (
    select j.queue::text, count(*) * 100 / (select p.percent from part p) as due
    from pgqueue.jobs_live j tablesample system ((select p.percent from part p))
    where j.state in ('pending', 'retrying') and j.run_at <= now()
    group by j.queue
), due as (
    select f.queue, sum(f.due) as due, bool_or(f.is_cut) as is_cut, sum(f.per_second) as per_second from found f group by f.queue
)
select coalesce(d.queue, b.queue),
       (case when d.is_cut then greatest(round(coalesce(s.due, 0)), d.due) else coalesce(d.due, 0) end)::bigint,
       d.is_cut is not true or (select p.percent from part p) >= 100,
       coalesce(q.paused, false),
       date_part('epoch', now() - b.at),
       b.started / date_part('epoch', now() - b.at),
       coalesce(a.count, 0) / date_part('epoch', now() - b.at) + coalesce(d.per_second, 0)
from due d
full join begun b on b.queue = d.queue
left join arrived a on a.queue = b.queue
left join sampled s on s.queue = d.queue
left join pgqueue.queues q on q.name = coalesce(d.queue, b.queue)
order by 1
