-- Deletes the checkpoint of one step, so that the next attempt of the job does the step again. An attempt that runs now goes on with the
-- checkpoints that it has read. `key` is '' for a step without a key.
-- If the job has no other checkpoint and does not run, it no longer has a version, so a worker of any version can claim it.
-- Returns whether there was such a checkpoint. Locks the row of a job that has a version and does not run; then the row of the checkpoint.
create or replace function pgqueue.forget_step(job bigint, name text, key text default '')
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    has_version boolean := exists (select from pgqueue.jobs j where j.id = forget_step.job and j.version is not null);
    forgotten   boolean;
begin
    if has_version then
        perform from pgqueue.jobs j where j.id = forget_step.job and j.state <> 'running' for no key update;
        has_version := found;
    end if;
    delete from pgqueue.checkpoints c
    where c.job_id = forget_step.job and c.name = forget_step.name and c.key = forget_step.key;
    forgotten := found;
    if has_version and not exists (select from pgqueue.checkpoints c where c.job_id = forget_step.job) then
        update pgqueue.jobs j set version = null where j.id = forget_step.job and j.state <> 'running';
    end if;
    return forgotten;
end
$function$;
