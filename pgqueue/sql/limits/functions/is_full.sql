-- Whether a look at this seat is in vain: all is taken, or not enough is left for the first who waits, or its rate is used up.
-- A seat that no job holds is never full, whatever the last one wanted.
-- Without a search_path of its own, so that it is inlined: it is asked for every key that a claim passes.
create or replace function pgqueue.is_full(taken integer, wanted integer, concurrency integer, free_at timestamptz, moment timestamptz)
returns boolean
language sql
immutable
as $function$
    select coalesce(taken operator(pg_catalog.>=) concurrency
                    or (taken operator(pg_catalog.>) 0 and (taken operator(pg_catalog.+) wanted) operator(pg_catalog.>) concurrency), false)
        or coalesce(free_at operator(pg_catalog.>) moment, false)
$function$;
