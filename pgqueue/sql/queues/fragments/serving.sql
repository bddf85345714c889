-- `serving`: how many workers serve each queue. It follows the CTEs `living`, and `asked` with the names of all queues. Each different pattern
-- is compared with each queue once, however many workers have it. A worker whose names and patterns fit a queue twice counts once.
serving as materialized (
    select e.queue, sum(e.workers) as workers
    from (select u.name as queue, l.kind, l.workers from living l cross join lateral unnest(l.queues) u (name)
          union
          select a.queue, l.kind, l.workers
          from (select distinct u.pattern from living l cross join lateral unnest(l.patterns) u (pattern)) p
          join asked a on a.queue like p.pattern
          join (select u.pattern, l.kind, l.workers from living l cross join lateral unnest(l.patterns) u (pattern)) l on l.pattern = p.pattern) e
    group by e.queue
)
