-- Returns the arguments that a node takes from the results of others: `fills` has the id of a node for each name of an argument. The result
-- of a gate is the list of the results of what it waits for, in the order of the workflow. If a node did not complete, its result is null.
-- A gate that gives its members has no place of its own in such a list: its members stand there. A gate that gives nothing has the list [].
-- Returns null if all this is too long for arguments. Only release_nodes() calls it. Locks nothing.
create or replace function pgqueue.node_results(fills jsonb)
returns jsonb
language plpgsql
as $function$
declare
    lists jsonb := '{}';  -- for each gate that was read: its list
    gate  record;
begin
    -- The gates, those with the greatest ids last, and how long all results are.
    for gate in
        with recursive inside (id) as (
            select f.value::bigint from jsonb_each_text(fills) f
            union
            select d.on_id from inside i
            cross join lateral (select n.is_gate, n.gives from pgqueue.nodes n where n.id = i.id offset 0) n
            cross join lateral (select d.on_id from pgqueue.dependencies d where d.node_id = i.id offset 0) d
            where n.is_gate and n.gives is distinct from 'nothing'
        )
        select n.id, n.is_gate, n.gives, sum(coalesce(octet_length(n.result::text), 4)) over () as size
        from (select i.id from inside i) i
        cross join lateral (select n.id, n.is_gate, n.gives, n.result from pgqueue.nodes n where n.id = i.id offset 0) n
        order by n.id
    loop
        if gate.size > 2000000 then
            return null;
        end if;
        continue when not gate.is_gate;
        lists := lists || jsonb_build_object(gate.id, case when gate.gives is not distinct from 'nothing' then '[]' else (
            select coalesce(jsonb_agg(e.value order by d.on_id, e.place), '[]')
            from pgqueue.dependencies d
            cross join lateral (select n.is_gate, n.gives, n.result from pgqueue.nodes n where n.id = d.on_id offset 0) n
            cross join lateral jsonb_array_elements(case
                when not n.is_gate then jsonb_build_array(n.result)
                when n.gives is null then jsonb_build_array(lists -> d.on_id::text)
                else lists -> d.on_id::text end) with ordinality e (value, place)
            where d.node_id = gate.id) end);
    end loop;
    return (
        select jsonb_object_agg(f.key, case when n.is_gate then lists -> f.value else coalesce(n.result, 'null') end)
        from jsonb_each_text(fills) f
        cross join lateral (select n.is_gate, n.result from pgqueue.nodes n where n.id = f.value::bigint offset 0) n);
end
$function$;
