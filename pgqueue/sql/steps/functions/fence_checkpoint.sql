-- Checks during the COMMIT of a user's transaction that the attempt that wrote a checkpoint still has the lease of its job. If it has not,
-- the whole transaction is rolled back, with SQLSTATE PQ601. The lease is the pair of worker_id and lease_id, as in complete.sql.
-- Is the function of checkpoints_fence_trigger. That trigger is deferred, so until COMMIT nothing is locked that other sessions wait for,
-- however long the user's transaction lasts.
-- Locks the job's row with FOR KEY SHARE until the end of the COMMIT. So a rescue, a settling or a cancel waits, and a write of progress
-- does not wait.
-- Runs as the owner, because the role of the transaction perhaps may not lock jobs.
create or replace function pgqueue.fence_checkpoint()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
begin
    perform from pgqueue.jobs_live j
    where j.id = new.job_id and j.lease_id = new.lease_id and j.worker_id = new.worker_id and j.state = 'running'
    for key share;
    if not found then
        raise exception using errcode = 'PQ601',
            message = format('pgqueue: the lease %s on job %s is lost, so nothing of this transaction is committed', new.lease_id, new.job_id);
    end if;
    return null;
end
$function$;
