-- Locks these nodes and everything that waits for them, directly or not, by ascending id. It also locks nodes that have ended, and what is
-- behind them: while this function waits for a lock, a retry can open such nodes again. Edges never change, so it locks all that an end can
-- reach, whatever other transactions do. Only resolve() and retry_nodes() call it, with their settings. Uses nodes_pkey and
-- dependencies_pkey.
create or replace function pgqueue.lock_downstream(ids bigint[])
returns void
language plpgsql
as $function$
begin
    perform from pgqueue.nodes n
    where n.id = any(array(
        with recursive down (id) as (
            select i.id from unnest(ids) i (id)
            union
            select d.node_id from down w
            cross join lateral (select d.node_id from pgqueue.dependencies d where d.on_id = w.id offset 0) d
        )
        select w.id from down w))
    order by n.id
    for update of n;
end
$function$;
