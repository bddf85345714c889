-- Tells all that listen to pgqueue's channel when the caller's transaction commits. Not in a transaction of which
-- pgqueue.notify is off (`set local pgqueue.notify = off`): one that has sent a NOTIFY cannot be prepared for a two-phase
-- commit. What is told here is also found by the next poll or heartbeat.
create or replace function pgqueue.notify(payload text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    if current_setting('pgqueue.notify', true) is distinct from 'off' then
        perform pg_notify('pgqueue', payload);
    end if;
end
$function$;
