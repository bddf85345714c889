-- Revives one job by the SQL API. Returns what happened (see functions/revive.sql); null: there is no such job.
select pgqueue.revive(%(job_id)s::bigint)
