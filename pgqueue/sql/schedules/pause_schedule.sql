-- Pauses or resumes a schedule. Fire times during a pause never get a job. Locks the schedule's row.
-- Zero rows: there is no such schedule.
update pgqueue.schedules s set paused = %(paused)s::boolean
where s.name = %(name)s::text
returning s.id
