-- Writes into a schedule's row why the schedule cannot run. After that, schedulers do not handle the schedule until it is edited, or until
-- another scheduler starts. Its next fire time stays.
-- Locks the schedule's row. Zero rows: the schedule was edited in the meantime, which can have removed the problem.
update pgqueue.schedules s set problem = %(problem)s::text, planned = true
where s.id = %(schedule_id)s::bigint and s.xmin::text = %(version)s::text
returning s.id
