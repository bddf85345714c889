-- Returns the fingerprint of an origin (error_origin.sql).
create or replace function pgqueue.fingerprint_of(origin text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select lpad(to_hex(hashtextextended(origin, 0)), 16, '0')
$function$;
