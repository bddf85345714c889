-- Lists every schedule, or only the schedule with this name, with its last run and its next fire time. Locks nothing. Zero rows: there is
-- no such schedule.
select o.name, o.task, s.cron, extract(epoch from s.every)::float8, s.at, s.anchor, o.tz, s.overlap, s.missed, s.missed_cap,
       extract(epoch from s.jitter)::float8, pgqueue.text_of(s.args), pgqueue.text_of(s.options), o.source, o.paused, o.problem, o.next_fire_at,
       o.last_fire_at, o.last_run, o.last_job_id, o.last_job_state, o.waiting, o.state,
       --+ redact s
from pgqueue.schedule_overview o join pgqueue.schedules s on s.id = o.id
where %(name)s::text is null or o.name = %(name)s::text
order by o.name
