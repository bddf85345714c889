-- The schedules that find_due_schedules.sql chooses from, each with the version of its row. Locks nothing.
select s.id, s.xmin::text from pgqueue.schedules s where not s.paused order by s.id
