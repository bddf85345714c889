-- Delivers a signal during the COMMIT of its sender. If the job waits for a signal of this name, the job becomes pending, due now, and the
-- workers of its queue are woken.
-- This is the function of signals_arrived_trigger. That trigger is deferred. So the open transaction of a sender locks no job, however long
-- it lasts.
-- Finds the row of the job by its id alone, and locks it before it looks at the state. If a condition on the state were part of the search,
-- the search would not wait for a suspension under way (suspend.sql), and the signal would be missed. The lock FOR NO KEY UPDATE is enough,
-- and lets steps of the running job go on.
-- Runs as the owner, because the sender need not be allowed to change jobs.
create or replace function pgqueue.signal_arrived()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    job record;
begin
    select l.state, l.waits_for into job from pgqueue.jobs_live l where l.id = new.job_id for no key update;
    if found and job.state = 'waiting' and new.name = any(job.waits_for) then
        update pgqueue.jobs_live l set state = 'pending', waits_for = null, run_at = clock_timestamp()
        where l.id = new.job_id
        returning l.lease_id, l.attempt, l.run_at, l.queue into job;
        insert into pgqueue.transitions (job_id, lease_id, run_at, attempt, from_state, to_state, reason)
        values (new.job_id, job.lease_id, job.run_at, job.attempt, 'waiting', 'pending', 'signalled');
        perform pgqueue.wake(job.queue);
    end if;
    return null;
end
$function$;
