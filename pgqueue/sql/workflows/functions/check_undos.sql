-- Checks the undos of nodes before anything is stored. If something is wrong, raises the error PQ404 with a sentence for people. Only
-- enqueue_workflow() calls it, if there is an undo. Locks nothing.
create or replace function pgqueue.check_undos(nodes jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- as in enqueue_workflow
set enable_mergejoin = off
as $function$
declare
    options constant text[] := array[
        'task', 'args', 'results', 'queue', 'priority', 'run_at', 'delay', 'max_attempts', 'timeout', 'concurrency_key', 'weight', 'ordering',
        'tags', 'meta', 'trace_context', 'expires', 'deadline', 'declared'];
    bad     record;
    said    text;
begin
    select c.name, c.complaint into bad
    from (
        select n.rank, coalesce(nullif(n.body ->> 'name', ''), n.rank::text) as name, case
            when not n.body ? 'task' then 'a group has no undo: give one to its nodes'
            when jsonb_typeof(n.body -> 'undo') <> 'object' then 'its undo is an object with a task'
            when jsonb_typeof(n.body -> 'undo' -> 'task') is distinct from 'string' then 'its undo has no task'
            when (n.body -> 'undo') - options <> '{}' then format('unknown option %s for its undo', (n.body -> 'undo') - options)
            when jsonb_typeof(coalesce(n.body -> 'undo' -> 'args', '{}')) <> 'object' then 'the args of its undo are an object'
            when jsonb_typeof(coalesce(n.body -> 'undo' -> 'results', '{}')) <> 'object'
                 or jsonb_path_exists(n.body, 'strict $.undo.results.keyvalue().value ? (@.type() != "string")', silent => true)
                then 'results of its undo has, for each name of an argument, the name of a node'
            end as complaint
        from jsonb_array_elements(nodes) with ordinality n (body, rank)
        where coalesce(n.body -> 'undo', 'null') <> 'null'
    ) c
    where c.complaint is not null
    order by c.rank limit 1;
    if found then
        raise exception using errcode = 'PQ404', message = format('pgqueue: node %s: %s', bad.name, bad.complaint);
    end if;
    select w.name, format('its undo takes the result of %s, %s', w.value, case when m.rank is null then 'but no node has that name'
                          else 'which is listed after it' end) as complaint
    into bad
    from (
        select n.rank, coalesce(n.body ->> 'name', n.rank::text) as name, r.value
        from jsonb_array_elements(nodes) with ordinality n (body, rank)
        cross join lateral jsonb_each_text(n.body -> 'undo' -> 'results') r
        where n.body -> 'undo' ? 'results'
    ) w
    left join (select n.rank, coalesce(n.body ->> 'name', n.rank::text) as name from jsonb_array_elements(nodes) with ordinality n (body, rank)) m
        on m.name = w.value
    where m.rank is null or m.rank > w.rank
    order by w.rank limit 1;
    if found then
        raise exception using errcode = 'PQ404', message = format('pgqueue: node %s: %s', bad.name, bad.complaint);
    end if;
    begin
        perform pgqueue.check_jobs((select jsonb_agg((n.body -> 'undo') - 'results') from jsonb_array_elements(nodes) n (body)
                                    where coalesce(n.body -> 'undo', 'null') <> 'null'));
    exception
        when sqlstate 'PQ404' then
            get stacked diagnostics said = message_text;
            raise exception using errcode = 'PQ404', message = 'pgqueue: the undo of a node: ' || substr(said, length('pgqueue: ') + 1);
    end;
end
$function$;
