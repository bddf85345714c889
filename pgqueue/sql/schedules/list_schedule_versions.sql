-- Lists the schedules from which find_due_schedules.sql chooses, each with the version of its row. Locks nothing.
select s.id, s.xmin::text from pgqueue.schedules s where not s.paused order by s.id
