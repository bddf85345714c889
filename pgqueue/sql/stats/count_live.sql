-- Counts all jobs by state, at a bounded cost. If a state has at most `most` jobs, its count is nearly always exact. Otherwise the count can
-- be an estimate, and `is_exact` is false. (pgqueue.queue_depth counts every job, however many there are.)
-- due and scheduled are parts of pending and retrying together: the jobs whose run_at has passed, and the jobs whose run_at has not.
-- Up to `most` unclaimed, dead and completed or cancelled jobs are read one by one. If these are all jobs of their kind, the count is exact.
-- Beside this, all pages of jobs_live and of jobs_done are read if the table has at most 2,000 of them, and the count is exact, too. Of a
-- larger table, about 500 pages are read, chosen by chance, and the count is an estimate. So the jobs in waiting, which no index finds, are
-- estimated in a large table even if they are few. Running jobs are always counted exactly.
-- Uses jobs_live_claim_idx, jobs_live_due_idx and jobs_live_worker_idx. Locks nothing. Returns the same nine states in the same order.
with live as materialized (
    select case when s.pages <= 2000 then 100 else 100.0 * 500 / s.pages end as percent
    from (select pg_relation_size('pgqueue.jobs_live') / current_setting('block_size')::int as pages) s
), unclaimed as materialized (
    select coalesce(sum(u.count), 0) as count, bool_or(u.count > %(most)s::int) as is_cut, sum(u.retrying) as retrying, sum(u.due) as due
    from (
        select count(*) as count, count(*) filter (where f.state = 'retrying') as retrying, count(*) filter (where f.run_at <= now()) as due
        from (select j.state, j.run_at from pgqueue.jobs_live j
              where --+ claim_idx j
              order by j.queue, j.priority, j.run_at, j.id limit %(most)s::int + 1) f
        union all
        select count(*), count(*) filter (where f.state = 'retrying'), count(*) filter (where f.run_at <= now())
        from (select j.state, j.run_at from pgqueue.jobs_live j
              where --+ due_idx j
              order by j.queue, j.priority, j.run_at, j.id limit %(most)s::int + 1) f
    ) u
), seen as materialized (
    select count(*) filter (where j.state = 'waiting') as waiting, count(*) filter (where j.state = 'retrying') as retrying,
           count(*) filter (where j.state = 'pending') as pending,
           count(*) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as due
    from pgqueue.jobs_live j tablesample system ((select l.percent from live l))
), ended_badly as materialized (
    select count(*) as count from (select from pgqueue.jobs_dead limit %(most)s::int + 1) d
), ended as materialized (
    select count(*) as count, count(*) filter (where d.state = 'cancelled') as cancelled
    from (select j.state from pgqueue.jobs_done j limit %(most)s::int + 1) d
), done as materialized (
    select case when (select e.count <= %(most)s::int from ended e) then 0 when s.pages <= 2000 then 100 else 100.0 * 500 / s.pages end as percent
    from (select sum(pg_relation_size(t.relid)) / current_setting('block_size')::int as pages
          from pg_partition_tree('pgqueue.jobs_done') t where t.isleaf) s
), seen_done as materialized (
    select count(*) filter (where j.state = 'cancelled') as cancelled, count(*) filter (where j.state = 'completed') as completed
    from pgqueue.jobs_done j tablesample system ((select d.percent from done d))
), counted (state, count, is_exact) as (
    select v.* from live l cross join unclaimed u cross join seen s
    cross join lateral (values
        ('due', case when u.is_cut then s.due * 100 / l.percent else u.due end, not u.is_cut or l.percent >= 100),
        ('scheduled', case when u.is_cut then (s.pending + s.retrying - s.due) * 100 / l.percent else u.count - u.due end,
         not u.is_cut or l.percent >= 100),
        ('pending', case when u.is_cut then s.pending * 100 / l.percent else u.count - u.retrying end, not u.is_cut or l.percent >= 100),
        ('retrying', case when u.is_cut then s.retrying * 100 / l.percent else u.retrying end, not u.is_cut or l.percent >= 100),
        ('waiting', s.waiting * 100 / l.percent, l.percent >= 100)) v (state, count, is_exact)
    union all
    select 'running', (select count(*) from pgqueue.jobs_live j where j.worker_id is not null), true
    union all
    select 'dead', case when b.count > %(most)s::int then greatest(c.reltuples, b.count) else b.count end, b.count <= %(most)s::int
    from ended_badly b cross join pg_class c where c.oid = 'pgqueue.jobs_dead'::regclass
    union all
    select v.* from ended e cross join done d cross join seen_done s
    cross join lateral (values
        ('completed', case when d.percent > 0 then s.completed * 100 / d.percent else e.count - e.cancelled end, d.percent not between 0.000001 and 99.9999),
        ('cancelled', case when d.percent > 0 then s.cancelled * 100 / d.percent else e.cancelled end, d.percent not between 0.000001 and 99.9999)
    ) v (state, count, is_exact)
)
select c.state, round(c.count)::bigint, c.is_exact from counted c
