-- Finds the node that mend_nodes.sql would end: of the next `count` nodes after the id `node`, the first open one whose job is gone.
-- Uses nodes_pkey and jobs_live_id_key. Locks nothing. Returns workflow_id and id. Zero rows: there is none.
select n.workflow_id, n.id
from (select o.id, o.workflow_id, o.state, o.is_gate from pgqueue.nodes o
      where o.id > %(node)s::bigint order by o.id limit %(count)s::int) n
where n.state is null and not n.is_gate and not exists (select from pgqueue.jobs_live l where l.id = n.id)
order by n.id
limit 1
