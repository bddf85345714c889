-- Whether a look at this seat is in vain: all is taken, or not enough is left for the first job that waits, or its rate is used up.
-- If no job holds the seat, what the last job wanted does not count.
-- It has no search_path of its own, so that it is inlined, because a claim asks it for every key that it passes.
create or replace function pgqueue.is_full(taken integer, wanted integer, concurrency integer, free_at timestamptz, moment timestamptz)
returns boolean
language sql
immutable
as $function$
    select coalesce(taken operator(pg_catalog.>=) concurrency
                    or (taken operator(pg_catalog.>) 0 and (taken operator(pg_catalog.+) wanted) operator(pg_catalog.>) concurrency), false)
        or coalesce(free_at operator(pg_catalog.>) moment, false)
$function$;
