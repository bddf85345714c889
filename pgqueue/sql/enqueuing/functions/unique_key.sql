-- Returns the unique_key of a job, as one row: the key that was `given`, or a key that is derived from the job's arguments. Only this
-- function derives keys, so that a job has the same key wherever it is enqueued.
--   by: true for all arguments, or a list of names of arguments. A missing argument counts as null.
--   unique_for: seconds. The key then belongs to one window of that length: the window that contains `at` (the job's run_at). Windows are
--     counted from 1970-01-01 UTC. So a window of a day begins at midnight, and a window of an hour on the hour.
-- The values of arguments are compared as the text of jsonb, in which the order of members does not matter. Derived keys begin with pgq:.
-- If a derived key is longer than 255 bytes, a hash replaces it. Without `by` and `given` the result is null: the job has no key.
-- It has no settings of its own, so the server inlines it into the statement that calls it.
create or replace function pgqueue.unique_key(args jsonb, by jsonb, given text, unique_for float8, at timestamptz)
returns table (unique_key text)
language sql
stable parallel safe
rows 1
as $function$
    select case when pg_catalog.octet_length(k.key) operator(pg_catalog.<=) 255 or unique_for is null and given is not null then k.key
                else 'pgq:sha256:' operator(pg_catalog.||) pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(k.key, 'UTF8')), 'hex') end
    from (
        select case
            when unique_for is null and given is not null then given
            when given is not null then 'pgq:key:' operator(pg_catalog.||) given operator(pg_catalog.||) w.part
            when by operator(pg_catalog.=) 'true' then 'pgq:args:' operator(pg_catalog.||) coalesce(args, '{}')::text operator(pg_catalog.||) w.part
            when pg_catalog.jsonb_typeof(by) operator(pg_catalog.=) 'array' then 'pgq:by:' operator(pg_catalog.||) case
                when pg_catalog.jsonb_array_length(by) operator(pg_catalog.=) 1  -- costs a fifth of the general form below
                then pg_catalog.jsonb_build_object(by operator(pg_catalog.->>) 0, args operator(pg_catalog.->) (by operator(pg_catalog.->>) 0))
                else (select pg_catalog.jsonb_object_agg(n.name, coalesce(args operator(pg_catalog.->) n.name, 'null'))
                from pg_catalog.jsonb_array_elements_text(by) n (name)) end::text operator(pg_catalog.||) w.part
            end as key
        from (select coalesce('@' operator(pg_catalog.||) pg_catalog.floor(pg_catalog.date_part('epoch', at) operator(pg_catalog./) unique_for)::bigint
                              operator(pg_catalog.||) '/' operator(pg_catalog.||) unique_for::numeric, '') as part) w
        offset 0  -- so the planner computes the key only once, although it is used twice
    ) k
$function$;
