-- Returns the moment that a value of the option `expires` or `deadline` means. A number is the seconds from `since` to that moment; a text
-- is the moment itself.
create or replace function pgqueue.option_time(value jsonb, since timestamptz)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select case when jsonb_typeof(value) = 'number' then since + make_interval(secs => value::float8)
                else (value #>> '{}')::timestamptz end
$function$;
