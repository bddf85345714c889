-- The jobs that wait for a signal: which signals, since when, and until when (null: without a time-out). To send a signal to all jobs that
-- wait for it: `select pgqueue.signal(w.id, 'open') from pgqueue.waiting w where 'open' = any(w.signals)`.
create or replace view pgqueue.waiting with (security_invoker) as
    select j.id, j.queue, j.task, j.waits_for::text[] as signals,
           (select min(c.at) from pgqueue.checkpoints c where c.job_id = j.id and c.kind = 'wait' and c.value ? 'names') as since,
           nullif(j.run_at::timestamptz, --+ no_end)
           as until, j.unique_key, j.tags, j.workflow_id
    from pgqueue.jobs_live j
    where j.state = 'waiting' and j.waits_for is not null
