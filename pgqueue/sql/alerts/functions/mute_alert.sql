-- Mutes this alert, and later ones about the same subject, for `seconds`: they have no messages. 0 unmutes it.
-- Returns until when; null if there is no such alert.
create or replace function pgqueue.mute_alert(alert bigint, seconds double precision)
returns timestamptz
language sql
set search_path = pg_catalog, pg_temp
as $function$
    update pgqueue.alerts a set muted_until = clock_timestamp() + make_interval(secs => seconds)
    where a.id = alert
    returning a.muted_until
$function$;
