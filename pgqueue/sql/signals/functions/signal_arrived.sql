-- Delivers a signal during the COMMIT of its sender (deliver_signal.sql).
-- This is the function of signals_arrived_trigger. That trigger is deferred. So the open transaction of a sender locks no job, however long
-- it lasts.
-- Runs as the owner, because the sender need not be allowed to change jobs.
create or replace function pgqueue.signal_arrived()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
begin
    perform pgqueue.deliver_signal(new.job_id, new.name);
    return null;
end
$function$;
