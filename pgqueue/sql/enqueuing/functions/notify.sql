-- Sends `payload` to all sessions that listen to pgqueue's channel, when the caller's transaction commits. If a notification is missing,
-- the next poll or heartbeat finds the same change.
-- Sends nothing if pgqueue.notify is off in the transaction (`set local pgqueue.notify = off`), because a transaction that has sent a
-- NOTIFY cannot be prepared for a two-phase commit.
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
