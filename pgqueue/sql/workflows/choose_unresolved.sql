-- Finds rows of `unresolved`: nodes at which the leader must look again, because their jobs were locked when they were to be released or
-- ended, or because the database refused that. At most `count`, the oldest first. Uses unresolved_pkey and nodes_pkey. Locks nothing.
-- Returns (id, node_id, refusal). Zero rows, the normal case: nothing was left.
select u.id, u.node_id, n.error
from (select o.id, o.node_id from pgqueue.unresolved o order by o.id limit %(count)s::int) u
left join lateral (
    select n.error from pgqueue.nodes n where n.id = u.node_id and
        --+ was_refused n
    ) n on true
order by u.id
