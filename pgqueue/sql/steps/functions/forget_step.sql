-- Deletes the checkpoint of one step, so that the next attempt of the job does the step again. An attempt that runs now goes on with the
-- checkpoints that it has read. `key` is '' for a step without a key.
-- Returns whether there was such a checkpoint. Locks only the row of the checkpoint.
create or replace function pgqueue.forget_step(job bigint, name text, key text default '')
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $function$
    with forgotten as (
        delete from pgqueue.checkpoints c
        where c.job_id = forget_step.job and c.name = forget_step.name and c.key = forget_step.key
        returning 1
    )
    select exists (select from forgotten)
$function$;
