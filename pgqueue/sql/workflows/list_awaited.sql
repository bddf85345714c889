-- Lists the edges that lead to a node: what the node itself waits for, and what the gates among these wait for, and so on. Does not look
-- behind gates that give nothing.
-- Uses dependencies_node_idx and nodes_pkey. Locks nothing. Returns (node, what it waits for, whether that is a gate, what the gate gives),
-- by ascending ids. Zero rows: the node waits for nothing.
with recursive inside (id) as (
    select %(node_id)s::bigint
    union
    select n.id
    from inside i
    cross join lateral (select d.on_id from pgqueue.dependencies d where d.node_id = i.id offset 0) d
    cross join lateral (select n.id, n.is_gate, n.gives from pgqueue.nodes n where n.id = d.on_id offset 0) n
    where n.is_gate and n.gives is distinct from 'nothing'
)
select i.id, n.id, n.is_gate, n.gives
from inside i
cross join lateral (select d.on_id from pgqueue.dependencies d where d.node_id = i.id offset 0) d
cross join lateral (select n.id, n.is_gate, n.gives from pgqueue.nodes n where n.id = d.on_id offset 0) n
order by i.id, n.id
