-- Returns the arguments that a node takes from the results of others: `fills` has the id of a node for each name of an argument. The result
-- of a gate is the list of the results of what it waits for, in the order of the workflow. If a node did not complete, its result is null.
-- Returns null if all this is too long for arguments. Only release_nodes() calls it. Locks nothing.
create or replace function pgqueue.node_results(fills jsonb)
returns jsonb
language plpgsql
as $function$
declare
    size  bigint;
    lists jsonb := '{}';  -- for each gate that was read: its list
    gate  record;
begin
    -- The gates, those with the greatest ids last; and how long the results in them are.
    for gate in
        with recursive inside (id) as (
            select f.value::bigint from jsonb_each_text(fills) f
            union
            select d.on_id from inside i
            cross join lateral (select n.is_gate from pgqueue.nodes n where n.id = i.id offset 0) n
            cross join lateral (select d.on_id from pgqueue.dependencies d where d.node_id = i.id offset 0) d
            where n.is_gate
        )
        select n.id, n.is_gate, n.result, sum(coalesce(octet_length(n.result::text), 4)) over () as size
        from (select i.id from inside i) i
        cross join lateral (select n.id, n.is_gate, n.result from pgqueue.nodes n where n.id = i.id offset 0) n
        order by n.id
    loop
        if gate.size > 2000000 then
            return null;
        end if;
        lists := lists || jsonb_build_object(gate.id, case when not gate.is_gate then coalesce(gate.result, 'null') else (
            select coalesce(jsonb_agg(lists -> d.on_id::text order by d.on_id), '[]')
            from pgqueue.dependencies d where d.node_id = gate.id) end);
    end loop;
    return (select jsonb_object_agg(f.key, lists -> f.value) from jsonb_each_text(fills) f);
end
$function$;
