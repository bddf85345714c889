-- The moment that the value of the option expires or deadline means: a number counts seconds from `since` on, and a text is a time.
create or replace function pgqueue.option_time(value jsonb, since timestamptz)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select case when jsonb_typeof(value) = 'number' then since + make_interval(secs => value::float8)
                else (value #>> '{}')::timestamptz end
$function$;
