-- Removes a schedule and the notes of its runs; its jobs stay. Locks the rows. Zero rows: there is no such schedule.
delete from pgqueue.schedules s
where s.name = %(name)s::text
returning s.source
