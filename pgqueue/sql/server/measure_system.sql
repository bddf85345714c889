-- Measures what concerns all queues, for metrics: the living workers, their slots, the slots that are taken (index jobs_live_worker_idx), and
-- for how many seconds the most overdue schedule has been due. Locks nothing.
select w.workers, w.slots, (select count(*) from pgqueue.jobs_live j where j.worker_id is not null), c.lag
from (select count(*) as workers, coalesce(sum(w.slots), 0)::bigint as slots from pgqueue.workers w
      where w.state in ('running', 'draining') and w.expires_at > clock_timestamp()) w
cross join (select greatest(coalesce(max(extract(epoch from clock_timestamp() - s.next_at)), 0), 0)::float8 as lag from pgqueue.schedules s
            where not s.paused and s.problem is null and s.next_at <= now()) c
