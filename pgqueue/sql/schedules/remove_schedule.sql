-- Removes a schedule and the rows of its runs. Its jobs stay. Locks these rows. Zero rows: there is no such schedule.
delete from pgqueue.schedules s
where s.name = %(name)s::text
returning s.source
