-- The moment that an option expires or deadline means: a number of seconds from `since` on, or a time as text.
create or replace function pgqueue.option_time(value jsonb, since timestamptz)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select case when jsonb_typeof(value) = 'number' then since + make_interval(secs => value::float8)
                else (value #>> '{}')::timestamptz end
$function$;
