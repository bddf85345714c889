-- Whether a look at this seat is in vain: all is taken, or not enough is left for the first who waits, or its rate is used up.
-- A seat that nobody holds is never full, whatever the last one wanted.
create or replace function pgqueue.is_full(taken integer, wanted integer, concurrency integer, free_at timestamptz)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select coalesce(taken >= concurrency or (taken > 0 and taken + wanted > concurrency), false)
        or coalesce(free_at > clock_timestamp(), false)
$function$;
