-- Whether no job can take this seat now: all of it is taken, or what is left is not enough for the first job that was refused (`wanted`),
-- or its rate is used up (until `free_at`).
-- If no job has the seat, `wanted` does not count.
-- It has no settings of its own, such as a search_path, so the server inlines it. This matters because a claim calls it for every key that
-- it passes.
create or replace function pgqueue.is_full(taken integer, wanted integer, concurrency integer, free_at timestamptz, moment timestamptz)
returns boolean
language sql
immutable
as $function$
    select coalesce(taken operator(pg_catalog.>=) concurrency
                    or (taken operator(pg_catalog.>) 0 and (taken operator(pg_catalog.+) wanted) operator(pg_catalog.>) concurrency), false)
        or coalesce(free_at operator(pg_catalog.>) moment, false)
$function$;
