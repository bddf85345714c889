-- Reads the documents of one job that can contain secret values, and what is declared as secret in them. Uses the unique index of each
-- partition. Locks nothing. Zero rows: there is no such job.
select
    --+ secret_documents j
from pgqueue.jobs j
where j.id = %(job_id)s::bigint
order by j.finished_at nulls first
limit 1
