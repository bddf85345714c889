-- Raises the error PQ404 for an edge that cannot be stored: the node that it names does not exist, or is not listed earlier. If the edge is
-- part of a cycle, the sentence names the cycle. `ranks`, `befores` and `names` describe all edges, and `bad` is the number of that edge.
-- Only enqueue_workflow() calls it.
create or replace function pgqueue.refuse_edge(nodes jsonb, ranks integer[], befores integer[], names text[], bad integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    who    constant text := coalesce(nodes -> ranks[bad] - 1 ->> 'name', ranks[bad]::text);
    via    integer[] := array_fill(null::integer, array[jsonb_array_length(nodes)]);  -- for each node found: the node that waits for it
    border integer[] := array[befores[bad]];
    seen   integer;
    next   integer[];
    cycle  text := who;
    said   text;
begin
    if befores[bad] is null then
        raise exception using errcode = 'PQ404', message = format('pgqueue: node %s waits for %s, but no node has that name', who, names[bad]);
    end if;
    -- Walk from the later node along what it waits for, until the walk comes back.
    via[befores[bad]] := ranks[bad];
    while border <> '{}' and (via[ranks[bad]] is null or befores[bad] = ranks[bad]) and befores[bad] <> ranks[bad] loop
        next := '{}';
        for n in 1 .. cardinality(ranks) loop
            if ranks[n] = any(border) and befores[n] is not null and via[befores[n]] is null then
                via[befores[n]] := ranks[n];
                next := next || befores[n];
            end if;
        end loop;
        border := next;
    end loop;
    if via[ranks[bad]] is null then
        said := format('node %s waits for %s, which is listed after it: list %s first', who, names[bad], names[bad]);
    else
        seen := ranks[bad];
        loop
            seen := via[seen];
            cycle := coalesce(nodes -> seen - 1 ->> 'name', seen::text) || ' → ' || cycle;
            exit when seen = ranks[bad];
        end loop;
        said := format('the nodes wait for each other: %s', cycle);
    end if;
    raise exception using errcode = 'PQ404', message = 'pgqueue: ' || said;
end
$function$;
