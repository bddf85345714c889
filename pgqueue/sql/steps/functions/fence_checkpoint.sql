-- Checks, during the COMMIT of a user's transaction that wrote a checkpoint, whether the attempt still has the lease of its job. If the
-- lease is lost, the whole transaction is rolled back, with SQLSTATE PQ601. The lease is the pair of worker_id and lease_id, as in
-- complete.sql.
-- This is the function of checkpoints_fence_trigger. That trigger is deferred. So before the COMMIT, the check locks nothing, however long
-- the user's transaction lasts.
-- Locks the job's row with FOR KEY SHARE until the end of the COMMIT. This makes a rescue, an outcome or a cancel of the job wait, but not
-- a write of its progress.
-- If the checkpoint has a version and the job has none yet, the job gets that version, so that only workers that accept it claim the job.
-- Runs as the owner, because the role of the transaction need not be allowed to lock jobs.
create or replace function pgqueue.fence_checkpoint()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
begin
    perform from pgqueue.jobs_live j
    where j.id = new.job_id and (j.lease_id = new.lease_id) is true and (j.worker_id = new.worker_id) is true and j.state = 'running'
    for key share;
    if not found then
        raise exception using errcode = 'PQ601',
            message = format('pgqueue: the lease %s on job %s is lost, so nothing of this transaction is committed', new.lease_id, new.job_id);
    end if;
    if new.version is not null then
        update pgqueue.jobs_live j set version = new.version where j.id = new.job_id and j.version is null;
    end if;
    return null;
end
$function$;
