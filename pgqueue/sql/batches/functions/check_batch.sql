-- Checks a batch before anything is stored. If something is wrong, raises the error PQ404 with a sentence for people. The members are
-- checked by check_members. Only enqueue_batch() calls it. Locks nothing.
create or replace function pgqueue.check_batch(batch jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    known constant text[] := array['name', 'key', 'at_once', 'open', 'jobs', 'on_success', 'on_failure', 'on_end', 'meta'];
    wrong text;
begin
    if jsonb_typeof(batch) is distinct from 'object' then
        wrong := 'a batch is an object with a name';
    elsif batch - known <> '{}' then
        wrong := format('unknown option %s for a batch', batch - known);
    elsif jsonb_typeof(batch -> 'name') is distinct from 'string' or octet_length(batch ->> 'name') not between 1 and 255 then
        wrong := 'a batch needs a name of 1 to 255 bytes';
    elsif jsonb_typeof(coalesce(batch -> 'key', 'null')) not in ('string', 'null') or octet_length(batch ->> 'key') not between 1 and 255 then
        wrong := 'the key of a batch is a text of 1 to 255 bytes';
    elsif not jsonb_path_exists(coalesce(batch -> 'at_once', 'null'), '$ ? (@ == null || @ >= 1 && @ <= 1000000 && @ == @.floor())', silent => true) then
        wrong := format('at_once is %s: give a whole number from 1 to 1000000', batch -> 'at_once');
    elsif jsonb_typeof(coalesce(batch -> 'open', 'false')) <> 'boolean' then
        wrong := 'open is true or false';
    elsif jsonb_typeof(coalesce(batch -> 'jobs', '[]')) <> 'array' then
        wrong := 'jobs is a list of objects';
    elsif num_nonnulls(batch #> '{on_success,each}', batch #> '{on_failure,each}', batch #> '{on_end,each}') > 0 then
        wrong := 'each of on_success, on_failure and on_end is one job';
    end if;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
    perform pgqueue.check_members(coalesce((
        select jsonb_agg(f.body) from jsonb_each(batch) f (name, body)
        where f.name in ('on_success', 'on_failure', 'on_end') and f.body <> 'null'), '[]'));
end
$function$;
