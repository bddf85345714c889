-- Deletes rows of schedule_runs that are older than the longest retention of any queue. Keeps the last run of each schedule, runs that
-- wait, and runs whose job has not ended. Keeps also the run of a schedule that has only one fire time, because without this row the
-- schedule would fire again.
-- Also deletes tasks that no worker has reported for a month, and sets of schedules that no worker has reported for a month, if their app
-- has a newer set. Deletes at most `count` runs, skipping locked rows. Returns the number of runs that it deleted.
with runs as (
    delete from pgqueue.schedule_runs r
    where (r.schedule_id, r.fire_at) in (
        select o.schedule_id, o.fire_at
        from pgqueue.schedule_runs o
        where o.fire_at < clock_timestamp() - greatest((select max(q.retention) from pgqueue.queues q), interval '1 day')
          and o.state <> 'waiting'
          and exists (select from pgqueue.schedule_runs n where n.schedule_id = o.schedule_id and n.fire_at > o.fire_at)
          and not exists (select from pgqueue.schedules s where s.id = o.schedule_id and s.at = o.fire_at)
          and not exists (select from pgqueue.jobs_live j where j.id = o.job_id)
        limit %(count)s::int
        for update skip locked)
    returning 1
), sets as (
    delete from pgqueue.schedule_sets s where s.expires_at < clock_timestamp() - interval '30 days'
      and exists (select from pgqueue.schedule_sets n where n.app = s.app and n.since > s.since)
), forgotten as (
    delete from pgqueue.tasks t where t.seen_at < clock_timestamp() - interval '30 days'
)
select count(*) from runs
