-- Sends a signal to one job (functions/signal.sql). Returns one row: 'sent', the final state of the job, or null if there is no such job.
select pgqueue.signal(%(job_id)s::bigint, %(name)s::text, %(payload)s::jsonb, %(key)s::text, %(sender)s::text)
