-- Lists workers, the living ones first. If `ended` is true, also lists workers that have ended. If a queue has slots of its own on a
-- worker, the worker's row has the number of these slots, and how many of them are taken. Locks nothing.
select w.id, w.host, w.pid, w.version, w.executor, w.slots, w.queues,
       case when w.state in ('running', 'draining') and w.expires_at < clock_timestamp() then 'expired' else w.state end,
       w.started_at, w.heartbeat_at, w.expires_at,
       (select count(*) from pgqueue.jobs_live j where j.worker_id = w.id), w.queue_slots,
       array(select case when u.own is not null
                         then (select count(*) from pgqueue.jobs_live j
                               where j.worker_id = w.id and pgqueue.serving_name(j.queue, w.queues) = u.name) end
             from unnest(w.queues, w.queue_slots) with ordinality u (name, own, rank) order by u.rank),
       w.blocked_since, w.blocked_by, w.app_version, w.accepts
from pgqueue.workers w
where %(ended)s::boolean or (w.state in ('running', 'draining'))
order by w.stopped_at desc nulls first, w.started_at, w.id
limit 200
