-- Mutes this alert, and later alerts of the same kind about the same subject, for `seconds`: no messages are sent for them. If `seconds` is
-- 0, messages are sent again.
-- Returns the time until which the alert is muted; null if there is no such alert.
create or replace function pgqueue.mute_alert(alert bigint, seconds double precision)
returns timestamptz
language sql
set search_path = pg_catalog, pg_temp
as $function$
    update pgqueue.alerts a set muted_until = clock_timestamp() + make_interval(secs => seconds)
    where a.id = alert
    returning a.muted_until
$function$;
