-- If running jobs name a worker whose row is gone (deleted by hand), adds that worker again as expired, so that the next rescue takes the
-- jobs.
-- Expects jobs_live_worker_idx. Locks nothing that others wait for. Returns the ids of those workers.
-- Zero rows, the normal case: there are none.
insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, state, expires_at)
select distinct j.worker_id, 'unknown', 0, 'unknown', 'unknown', 0, '{}'::text[], '{}'::text[], 'expired',
       clock_timestamp() - interval '1 second'
from pgqueue.jobs_live j
where j.worker_id is not null and not exists (select from pgqueue.workers w where w.id = j.worker_id)
on conflict (id) do nothing
returning id
