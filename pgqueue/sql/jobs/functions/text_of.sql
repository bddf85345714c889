-- A document as text, for statements that show jobs. If it is too long, the text says so instead (no text can be longer than 1 GB).
create or replace function pgqueue.text_of(document jsonb)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    return case when octet_length(document::text) > 16777216 then to_json('too long to be shown'::text)::text else document::text end;
exception
    when program_limit_exceeded or data_exception or internal_error then
        return to_json(sqlerrm)::text;
end
$function$;
