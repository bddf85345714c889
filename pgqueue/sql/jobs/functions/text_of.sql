-- Returns a document as text, for statements that show jobs. If the text is longer than 16 MB, or cannot be made (no text can be longer
-- than 1 GB), the result is a text that says so.
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
