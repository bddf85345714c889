-- Locks these nodes and everything that waits for them, directly or not, by ascending id. Does not look behind other nodes that have ended,
-- because no end reaches what is there. Only resolve() and retry_nodes() call it, with their settings. Uses nodes_pkey and
-- dependencies_pkey.
create or replace function pgqueue.lock_downstream(ids bigint[])
returns void
language plpgsql
as $function$
begin
    perform from pgqueue.nodes n
    where n.id = any(array(
        with recursive down (id, is_first) as (
            select e.id, true from unnest(ids) e (id)
            union
            select d.node_id, false
            from down w
            cross join lateral (select n.state from pgqueue.nodes n where n.id = w.id offset 0) n
            cross join lateral (select d.node_id from pgqueue.dependencies d where d.on_id = w.id offset 0) d
            where w.is_first or num_nulls(n.state) = 1
        )
        select distinct w.id from down w))
    order by n.id
    for update of n;
end
$function$;
