-- Checks a workflow before anything is stored. If something is wrong, raises the error PQ404 with a sentence for people. Does not check
-- the options of the jobs: check_jobs does that. Only enqueue_workflow() calls it. Locks nothing.
create or replace function pgqueue.check_workflow(workflow jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
declare
    known   constant text[] := array['name', 'key', 'on_failure', 'nodes', 'meta'];
    options constant text[] := array[
        'queue', 'priority', 'run_at', 'delay', 'max_attempts', 'timeout', 'concurrency_key', 'weight', 'ordering', 'tags', 'meta',
        'trace_context', 'expires', 'deadline', 'declared'];
    own     constant text[] := array['name', 'task', 'args', 'after', 'when', 'results', 'undo'];
    most    constant integer := 20000;
    wrong   text;
begin
    if jsonb_typeof(workflow) is distinct from 'object' then
        wrong := 'a workflow is an object with a name and nodes';
    elsif workflow - known <> '{}' then
        wrong := format('unknown option %s for a workflow', workflow - known);
    elsif jsonb_typeof(workflow -> 'name') is distinct from 'string' or octet_length(workflow ->> 'name') not between 1 and 255 then
        wrong := 'a workflow needs a name of 1 to 255 bytes';
    elsif jsonb_typeof(coalesce(workflow -> 'key', 'null')) not in ('string', 'null') or octet_length(workflow ->> 'key') not between 1 and 255 then
        wrong := 'the key of a workflow is a text of 1 to 255 bytes';
    elsif coalesce(workflow ->> 'on_failure', 'cancel') not in ('cancel', 'stop', 'continue') then
        wrong := format('on_failure is %s: give cancel, stop or continue', workflow -> 'on_failure');
    elsif jsonb_typeof(workflow -> 'nodes') is distinct from 'array' then
        wrong := 'a workflow needs nodes, a list of objects';
    elsif jsonb_array_length(workflow -> 'nodes') > most then
        wrong := format('a workflow has at most %s nodes, and this one has %s', most, jsonb_array_length(workflow -> 'nodes'));
    else
        select format('node %s: %s', coalesce(nullif(c.name, ''), c.rank::text), c.complaint) into wrong
        from (
            select n.rank, n.body ->> 'name' as name, case
                when jsonb_typeof(n.body) <> 'object' then 'a node is an object'
                when jsonb_typeof(coalesce(n.body -> 'name', '""')) <> 'string' or octet_length(n.body ->> 'name') not between 1 and 255
                    then 'its name is a text of 1 to 255 bytes'
                when n.body ->> 'name' like 'pgqueue.%' then 'names that begin with pgqueue. are reserved'
                when (n.body ? 'task') = (n.body ? 'group') then 'give either a task or a group'
                when n.body ? 'group' and n.body - array['name', 'group', 'gives', 'undo'] <> '{}'
                    then format('unknown option %s for a group', n.body - array['name', 'group', 'gives', 'undo'])
                when coalesce(n.body ->> 'gives', 'members') not in ('members', 'nothing')
                    then format('gives is %s: give members or nothing, or leave it out', n.body -> 'gives')
                when n.body ? 'task' and n.body - (own || options) <> '{}'
                    then format('unknown option %s', n.body - (own || options))
                when jsonb_typeof(coalesce(n.body -> 'args', '{}')) <> 'object' then 'its args are an object'
                when coalesce(n.body ->> 'when', 'ended') not in ('completed', 'ended', 'failed')
                    then format('when is %s: give completed, ended or failed', n.body -> 'when')
                when jsonb_typeof(coalesce(n.body -> 'after', n.body -> 'group', '[]')) <> 'array'
                     or jsonb_path_exists(coalesce(n.body -> 'after', n.body -> 'group'), 'strict $[*] ? (@.type() != "string")', silent => true)
                    then 'after and group are lists of names of nodes'
                when jsonb_typeof(coalesce(n.body -> 'results', '{}')) <> 'object'
                     or jsonb_path_exists(n.body -> 'results', 'strict $.keyvalue().value ? (@.type() != "string")', silent => true)
                    then 'results has, for each name of an argument, the name of a node'
                when n.body ->> 'when' = 'failed' and coalesce(n.body -> 'after', '[]') = '[]' and coalesce(n.body -> 'results', '{}') = '{}'
                    then 'when is failed, but it waits for no node'
                when count(*) over same > 1
                    then 'two nodes have this name' || case when count(n.body ->> 'name') over same < count(*) over same
                                                            then ': a node without a name has its number as its name' else '' end
                end as complaint
            from jsonb_array_elements(workflow -> 'nodes') with ordinality n (body, rank)
            window same as (partition by coalesce(n.body ->> 'name', n.rank::text))
        ) c
        where c.complaint is not null
        order by c.rank limit 1;
    end if;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
end
$function$;
