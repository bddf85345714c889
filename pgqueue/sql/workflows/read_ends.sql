-- Reads how these nodes ended. A node that is still open has the state of its job.
-- Uses nodes_pkey and jobs_live_id_key. Locks nothing. Returns the nodes in any order.
select n.id, n.name, coalesce(n.state, (select j.state from pgqueue.jobs_live j where j.id = n.id), 'waiting'), n.result::text, n.error
from unnest(%(node_ids)s::bigint[]) i (id)
cross join lateral (select n.id, n.name, n.state, n.result, n.error from pgqueue.nodes n where n.id = i.id offset 0) n
