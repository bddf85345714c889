-- If the job waits for a signal of this name, makes it pending, due now, and wakes the workers of its queue.
-- Finds the row of the job by its id alone, and locks it before it looks at the state. If a condition on the state were part of the search,
-- the search would not wait for a suspension under way (suspend.sql), and the signal would be missed. The lock FOR NO KEY UPDATE is enough,
-- and lets steps of the running job go on.
-- Only signal_arrived() and signal_parents() call it, which run as the owner. Uses jobs_live_id_key.
create or replace function pgqueue.deliver_signal(job bigint, name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    l record;
begin
    select j.state, j.waits_for into l from pgqueue.jobs_live j where j.id = job for no key update;
    if found and l.state = 'waiting' and deliver_signal.name = any(l.waits_for) then
        update pgqueue.jobs_live j set state = 'pending', waits_for = null, run_at = clock_timestamp()
        where j.id = job
        returning j.lease_id, j.attempt, j.run_at, j.queue into l;
        insert into pgqueue.transitions (job_id, lease_id, run_at, attempt, from_state, to_state, reason)
        values (job, l.lease_id, l.run_at, l.attempt, 'waiting', 'pending', 'signalled');
        perform pgqueue.wake(l.queue);
    end if;
end
$function$;
