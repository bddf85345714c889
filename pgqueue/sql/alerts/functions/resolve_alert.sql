-- Closes an alert by hand. When the leader sees its cause again (for dead jobs: when another job dies), a new alert opens.
-- Returns true if this call closed the alert, false if it was closed already, null if there is no such alert.
create or replace function pgqueue.resolve_alert(alert bigint)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $function$
    with closed as (
        update pgqueue.alerts a set resolved_at = clock_timestamp()
        where a.id = alert and a.resolved_at is null
        returning a.id
    )
    select exists (select from closed c) from pgqueue.alerts a where a.id = alert
$function$;
