-- Edits one job by the SQL API. Returns what happened (see functions/edit.sql); null: there is no such job.
select pgqueue.edit(%(job_id)s::bigint, %(changes)s::text::jsonb)
