-- Returns a number with its noun: 0 jobs, 1 job, 2 jobs. Locks nothing.
create or replace function pgqueue.with_noun(number bigint, noun text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select number || ' ' || noun || case when number = 1 then '' else 's' end
$function$;
