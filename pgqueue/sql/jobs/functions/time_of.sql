-- Returns a moment, for statements that show jobs; null if programs cannot read it. For example, a user's SQL can have written infinity
-- into a finished job.
create or replace function pgqueue.time_of(moment timestamptz)
returns timestamptz
language sql
immutable
set search_path = pg_catalog, pg_temp
as $function$
    select case when moment between '0001-01-02 00:00+00' and '9999-12-30 00:00+00' then moment end
$function$;
