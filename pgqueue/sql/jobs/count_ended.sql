-- Counts the jobs in each final state, at a bounded cost. If the tables of a state have at most `pages` pages, the number is exact.
-- Otherwise, about so many pages are read, and the number is an estimate from them.
-- Returns a row for each final state: the state, the number, and whether it is exact. Locks nothing.
with part as materialized (
    select least(100.0, 100.0 * %(pages)s::int / greatest(sum(pg_relation_size(t.relid)) filter (where t.isleaf), 1) * current_setting('block_size')::int) as done,
           least(100.0, 100.0 * %(pages)s::int / greatest(pg_relation_size('pgqueue.jobs_dead'), 1) * current_setting('block_size')::int) as dead
    from pg_partition_tree('pgqueue.jobs_done') t
), done as materialized (
    select count(*) filter (where j.state = 'completed') as completed, count(*) filter (where j.state = 'cancelled') as cancelled
    from pgqueue.jobs_done j tablesample system ((select p.done from part p))
), dead as materialized (
    select count(*) as dead from pgqueue.jobs_dead j tablesample system ((select p.dead from part p))
)
select s.state, s.jobs, s.is_exact
from part p cross join done d cross join dead x
cross join lateral (values
    ('completed', round(d.completed * 100 / p.done)::bigint, p.done >= 100),
    ('cancelled', round(d.cancelled * 100 / p.done)::bigint, p.done >= 100),
    ('dead', round(x.dead * 100 / p.dead)::bigint, p.dead >= 100)
) s (state, jobs, is_exact)
