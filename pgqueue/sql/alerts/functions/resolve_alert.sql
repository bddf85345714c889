-- Closes an alert by hand; it opens again, as a new one, when its cause is seen again (a dead job: when another one dies).
-- Returns whether it was open; null if there is no such alert.
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
