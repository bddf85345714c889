-- Deletes the checkpoint of one step (functions/forget_step.sql). Returns one row: whether there was such a checkpoint.
select pgqueue.forget_step(%(job_id)s::bigint, %(name)s::text, %(key)s::text)
