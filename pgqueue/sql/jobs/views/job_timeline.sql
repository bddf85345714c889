-- All that happened to each job, from the transitions and from the job's own row.
-- A claim writes no transition. If the end of its attempt wrote one, the lease_id of that transition says when the claim was: in microseconds
-- since 1970 (claiming/fragments/starting.sql). Otherwise the job runs, is completed, or its transitions were deleted: then the job's own
-- row shows its last claim. Lease ids of early versions were small numbers, which contain no time: such claims are left out.
-- An attempt that does not count was taken back before its transition was written, so the claim shows one attempt more.
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
