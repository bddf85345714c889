-- The living workers: those with the same state, queues, tasks and versions are one row, because a fleet has many workers, but few kinds of them.
-- A row serves a queue if `queue = any(queues) or queue like any(patterns)`. This is what serving_name() says, but a call for each queue and
-- each worker would take half a second for 1000 queues and 100 workers.
select row_number() over () as kind, w.state, w.queues, w.tasks, w.accepts, count(*) as workers,
       array(select replace(replace(u.name, '_', E'\\_'), '*', '%%') from unnest(w.queues) u (name) where strpos(u.name, '*') > 0) as patterns
from pgqueue.workers w
where w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
group by w.state, w.queues, w.tasks, w.accepts
