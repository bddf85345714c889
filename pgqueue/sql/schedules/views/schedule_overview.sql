-- Every schedule in one row: when it fires, its last fire time, the states of the run and of the job for that time, and its next fire time.
create or replace view pgqueue.schedule_overview with (security_invoker) as
    select s.id, s.name::text as name, s.task::text as task,
           coalesce(s.cron, 'every ' || s.every::text, 'at ' || s.at::text) as fires, s.tz,
           case when s.problem is not null then 'problem' when s.paused then 'paused'
                when not s.planned then 'new' when s.next_at is null then 'over' else 'on' end as state,
           s.paused, s.problem, s.source,
           l.fire_at as last_fire_at, l.state as last_run, l.job_id as last_job_id,
           case when l.job_id is not null
                then coalesce((select j.state from pgqueue.jobs j where j.id = l.job_id limit 1), 'deleted') end as last_job_state,
           (select count(*) from pgqueue.schedule_runs w where w.schedule_id = s.id and w.state = 'waiting') as waiting,
           case when s.problem is null and not s.paused then s.next_at::timestamptz end as next_fire_at
    from pgqueue.schedules s
    left join lateral (select r.fire_at, r.state, r.job_id from pgqueue.schedule_runs r
                       where r.schedule_id = s.id order by r.fire_at desc limit 1) l on true
