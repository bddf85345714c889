-- Finds the schedules that a scheduler (the part of a worker that fires schedules) must handle. These are schedules that were edited,
-- schedules whose fire time has come, and schedules with a waiting run whose job can be enqueued now. If `broken` is true, also finds
-- schedules with a problem, because it is possible that this host does not have the problem.
-- `moment` is the time that is used; null: the database's time. If `only` is not null, all other schedules are left out.
-- Each row begins with three columns about all schedules: the time, the seconds until the next fire time of any other schedule (null: there
-- is none), and whether any run waits. If there is nothing to handle, the only row has nulls in the columns of the schedule.
-- Locks nothing. So fire_schedule checks `version`, the row's xmin, again.
select m.now, extract(epoch from m.nearest - m.now)::float8, m.waiting,
       s.id, s.version, s.name, s.task, s.cron, s.every, s.at, s.anchor, s.tz, s.overlap, s.missed, s.missed_cap, s.jitter,
       s.args, s.options, s.edited_at, s.next_at, s.over
from (
    select c.now, exists (select from pgqueue.schedule_runs w where w.state = 'waiting') as waiting,
           (select min(n.next_at) from pgqueue.schedules n
            where n.next_at > c.now and not n.paused and n.problem is null) as nearest
    from (select coalesce(%(moment)s::timestamptz, clock_timestamp()) as now) c
) m
left join lateral (
    select d.id, d.xmin::text as version, d.name, d.task, d.cron, extract(epoch from d.every)::float8 as every, d.at, d.anchor,
           d.tz, d.overlap, d.missed, d.missed_cap, extract(epoch from d.jitter)::float8 as jitter, d.args::text as args,
           d.options::text as options, d.edited_at, d.next_at,
           exists (select from pgqueue.schedule_runs r where r.schedule_id = d.id and r.fire_at = d.at) as over
    from pgqueue.schedules d
    where not d.paused and (%(only)s::bigint[] is null or d.id = any(%(only)s::bigint[]))
      and case when d.problem is not null then %(broken)s::boolean
               else not d.planned or d.next_at <= m.now
                    or (m.waiting
                        and exists (select from pgqueue.schedule_runs r where r.schedule_id = d.id and r.state = 'waiting')
                        and pgqueue.unfinished_runs(d.id) = '{}')
          end
    order by d.next_at nulls first, d.id
    limit %(count)s::int
) s on true
