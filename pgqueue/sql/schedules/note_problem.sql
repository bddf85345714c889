-- Writes on a schedule why it cannot run. Schedulers leave it alone until it is edited, or another scheduler starts. Its fire time stays.
-- Locks the schedule's row. Zero rows: it was edited meanwhile, which may have mended it.
update pgqueue.schedules s set problem = %(problem)s::text, planned = true
where s.id = %(schedule_id)s::bigint and s.xmin::text = %(version)s::text
returning s.id
