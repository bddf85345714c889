-- All that happened to each job, from the transitions and from the job's own row.
-- A claim writes no transition. But if the end of the claimed attempt wrote a transition, the lease_id of that transition is the time of
-- the claim, in microseconds since 1970 (claiming/fragments/starting.sql). If there is no such transition, because the job runs, is
-- completed, or its transitions were deleted, the job's own row shows its last claim. In early versions, a lease_id was a small number,
-- which contains no time. Claims with such a lease_id are left out.
-- If an attempt does not count, its transition has the number that `attempt` had before the claim. So the claim gets a number that is
-- larger by one.
create or replace view pgqueue.job_timeline with (security_invoker) as
    select j.id as job_id, j.created_at as at, null::text as from_state, 'pending'::text as to_state,
           'enqueued'::text as reason, 0::smallint as attempt, null::bigint as worker_id, null::text as error
    from pgqueue.jobs j
    union all
    select t.job_id, t.at, t.from_state, t.to_state, t.reason, t.attempt, t.worker_id, t.error
    from pgqueue.transitions t
    union all
    select c.job_id, least(to_timestamp(c.lease_id / 1e6), c.at), c.before, 'running', 'claimed',
           (c.attempt + (c.to_state = 'pending')::int)::smallint, c.worker_id, null
    from (
        select t.*, lag(t.to_state::text, 1, 'pending') over (partition by t.job_id order by t.at, t.lease_id) as before
        from pgqueue.transitions t
    ) c
    where c.from_state = 'running' and c.lease_id > 1000000000000000
    union all
    select j.id, j.started_at,
           coalesce((select t.to_state from pgqueue.transitions t
                     where t.job_id = j.id and t.lease_id < j.lease_id order by t.at desc limit 1), 'pending'),
           'running', 'claimed', j.attempt, j.worker_id, null
    from pgqueue.jobs j
    where j.started_at is not null
      and not exists (select from pgqueue.transitions t
                      where t.job_id = j.id and t.lease_id = j.lease_id and t.from_state = 'running' and t.lease_id > 1000000000000000)
    union all
    select j.id, j.finished_at, 'running', 'completed', 'completed', j.attempt, j.worker_id, null
    from pgqueue.jobs j where j.state = 'completed'
