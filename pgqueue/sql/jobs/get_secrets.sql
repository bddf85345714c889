-- Reads the documents of one job that can contain secret values, and what is declared as secret in them. Uses the unique index of each
-- partition. Locks nothing. Zero rows: there is no such job.
select
    j.task, pgqueue.text_of(j.args), pgqueue.text_of(j.result), pgqueue.text_of(j.meta),
    --+ redact j
from pgqueue.jobs j
where j.id = %(job_id)s::bigint
order by j.finished_at nulls first
limit 1
