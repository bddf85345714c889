-- All that happened to each job, from the transitions and from the job's own row.
create or replace view pgqueue.job_timeline with (security_invoker) as
    select j.id as job_id, j.created_at as at, null::text as from_state, 'pending'::text as to_state,
           'enqueued'::text as reason, 0::smallint as attempt, null::bigint as worker_id, null::text as error
    from pgqueue.jobs j
    union all
    select t.job_id, t.at, t.from_state, t.to_state, t.reason, t.attempt, t.worker_id, t.error
    from pgqueue.transitions t
    union all
    select j.id, j.started_at, case when j.attempt > 1 then 'retrying' else 'pending' end, 'running', 'claimed', j.attempt, j.worker_id, null
    from pgqueue.jobs j where j.started_at is not null
    union all
    select j.id, j.finished_at, 'running', 'completed', 'completed', j.attempt, j.worker_id, null
    from pgqueue.jobs j where j.state = 'completed'
