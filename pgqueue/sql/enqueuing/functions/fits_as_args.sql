-- Whether a document is short enough to be the arguments of a job. The limit here is a little lower than the limit of the domain job_args.
-- Like the domain, this function measures the document as text.
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
