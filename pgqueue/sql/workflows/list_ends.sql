-- Reads how the nodes of a workflow ended, in the order of the workflow, at most `count` of them. Begins with the node behind the node
-- `after`; null: with the first one. Leaves out gates, and jobs that undo nodes. A node that is still open has the state of its job.
-- Uses nodes_workflow_key and jobs_live_id_key. Locks nothing. Zero rows: there are no more nodes.
select n.id, n.name, coalesce(n.state, (select j.state from pgqueue.jobs_live j where j.id = n.id), 'waiting'), n.result::text, n.error
from pgqueue.nodes n
where n.workflow_id = %(workflow_id)s::bigint and not n.is_gate and n.undoes is null
  and n.rank > coalesce((select a.rank from pgqueue.nodes a where a.id = %(after)s::bigint), 0)
order by n.rank
limit %(count)s::int
