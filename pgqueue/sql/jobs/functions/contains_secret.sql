-- Returns whether a text contains a secret value of a document. `named` is a jsonpath to the texts and numbers under secret names, `paths` a JSON
-- array of jsonpaths to others. Recognises a value as model/redaction.py does: as a whole, by either end, and, where a text quotes it, by its
-- parts that need no quotes. A value of fewer than four characters is not recognised.
-- It runs no query, because it is called for each job that a search finds.
create or replace function pgqueue.contains_secret(said text, document jsonb, named jsonpath, paths jsonb)
returns boolean
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    found jsonb := jsonb_path_query_array(document, named);
    value text;
    part  text;
begin
    for n in 0 .. coalesce(jsonb_array_length(paths), 0) - 1 loop
        found := found || jsonb_path_query_array(document, (paths ->> n)::jsonpath);
    end loop;
    said := lower(said);
    for n in 0 .. jsonb_array_length(found) - 1 loop
        value := lower(found ->> n);
        continue when length(value) < 4;
        if strpos(said, value) > 0 then
            return true;
        end if;
        foreach part in array regexp_split_to_array(value, '[^]^-~ !#-&(-[]+') loop
            if length(part) >= 8 and (strpos(said, left(part, 16)) > 0 or strpos(said, right(part, 16)) > 0) then
                return true;
            end if;
        end loop;
    end loop;
    return false;
end
$function$;
