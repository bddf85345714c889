-- Returns the sum of two histograms, bucket by bucket. If one of them has fewer buckets, the rest counts as 0.
create or replace function pgqueue.add_histograms(one integer[], other integer[])
returns integer[]
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select coalesce(array_agg(coalesce(h.n, 0) + coalesce(h.m, 0) order by h.i), '{}') from unnest(one, other) with ordinality h (n, m, i)
$function$;
