-- If running jobs have the id of a worker whose row is gone (someone deleted it), adds a row for that worker again, as expired. So the next
-- rescue takes back the jobs.
-- Uses the index jobs_live_worker_idx. Locks nothing that other transactions wait for. Returns the ids of the workers that were added.
-- Zero rows, the normal case: there are no such workers.
insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, state, expires_at)
select distinct j.worker_id, 'unknown', 0, 'unknown', 'unknown', 0, '{}'::text[], '{}'::text[], 'expired',
       clock_timestamp() - interval '1 second'
from pgqueue.jobs_live j
where j.worker_id is not null and not exists (select from pgqueue.workers w where w.id = j.worker_id)
on conflict (id) do nothing
returning id
