-- Returns the fingerprint of an error: 16 hexadecimal digits, the same for all errors of one origin (error_origin.sql).
create or replace function pgqueue.fingerprint(error text, traceback text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select pgqueue.fingerprint_of(pgqueue.error_origin(error, traceback))
$function$;
