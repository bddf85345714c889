-- Checks jobs that are to be members or follow-up jobs of a batch. If an option is wrong, raises the error PQ404 with a sentence for
-- people, or the error of the type of the option's column. These jobs cannot have keys that must be unique, because the batch can have one.
-- Returns how many jobs these are. Locks nothing.
create or replace function pgqueue.check_members(jobs jsonb)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    options constant text[] := array[
        'task', 'args', 'each', 'queue', 'priority', 'run_at', 'delay', 'max_attempts', 'timeout', 'concurrency_key', 'weight', 'ordering',
        'tags', 'meta', 'trace_context', 'expires', 'deadline', 'declared', 'wake'];
    wrong   text;
    size    integer;
begin
    select format('job %s of the batch: %s', c.rank, c.complaint) into wrong
    from (
        select i.rank, case
            when jsonb_typeof(i.body) <> 'object' then 'it is no object'
            when i.body - options <> '{}' then format('unknown option %s', i.body - options)
            when jsonb_typeof(coalesce(i.body -> 'args', '{}')) <> 'object' then 'its args are an object'
            when jsonb_typeof(coalesce(i.body -> 'each', '[]')) <> 'array' then 'each is a list of args'
            when jsonb_path_exists(i.body, 'strict $.each[*] ? (@.type() != "object")', silent => true) then 'each element of its each is an object'
            end as complaint
        from jsonb_array_elements(jobs) with ordinality i (body, rank)
    ) c
    where c.complaint is not null
    order by c.rank limit 1;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
    size := (pgqueue.check_jobs(jobs)).size;
    -- The types of the columns check the values.
    perform i.* from pgqueue.job_items(jobs, null, clock_timestamp()) i;
    return size;
end
$function$;
