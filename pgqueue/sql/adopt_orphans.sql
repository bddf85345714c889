-- Gives running jobs whose worker's row is gone (deleted by hand) an expired worker, so that the next rescue takes them.
-- A worker that never was, which only SQL can name, becomes worker 0 first, and is seen by the next look: its number may be given yet.
-- Reads jobs_live_worker_idx. Returns the ids of those workers. Zero rows, the normal case: there are none.
with given as materialized (
    select coalesce(pg_sequence_last_value('pgqueue.workers_id_seq'), 9223372036854775807) as last
), unborn as (
    update pgqueue.jobs_live j set worker_id = 0
    where (j.worker_id < 0 or j.worker_id > (select g.last from given g))
      and not exists (select from pgqueue.workers w where w.id = j.worker_id)
)
insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, state, expires_at)
select distinct j.worker_id, 'unknown', 0, 'unknown', 'unknown', 0, '{}'::text[], '{}'::text[], 'expired',
       clock_timestamp() - interval '1 second'
from pgqueue.jobs_live j
where j.worker_id is not null and not exists (select from pgqueue.workers w where w.id = j.worker_id)
  and j.worker_id between 0 and (select g.last from given g)
on conflict (id) do nothing
returning id
