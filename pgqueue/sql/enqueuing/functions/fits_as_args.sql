-- Whether a document is short enough for arguments of a job, with a little room. It is measured as text, as the domain job_args does.
create or replace function pgqueue.fits_as_args(document jsonb)
returns boolean
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
begin
    return pg_column_size(document) <= 240 or octet_length(document::text) <= 2000000;
exception
    when program_limit_exceeded then
        return false;
end
$function$;
