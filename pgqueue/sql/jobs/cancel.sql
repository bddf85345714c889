-- Cancels one job by the SQL API. Returns what happened (see functions/cancel.sql); null: there is no such job.
select pgqueue.cancel(%(job_id)s::bigint)
