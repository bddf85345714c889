-- Returns the task of one job, found with the unique index of each partition. Locks nothing. Zero rows: there is no such job.
select j.task from pgqueue.jobs j where j.id = %(job_id)s::bigint limit 1
