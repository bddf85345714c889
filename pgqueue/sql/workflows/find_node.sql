-- Finds a node of a workflow by its name. Uses nodes_workflow_key. Locks nothing. Zero rows: the workflow has no such node.
-- Returns one row: its id, and whether it is a gate, which has no job.
select n.id, n.is_gate
from pgqueue.nodes n
where n.workflow_id = %(workflow_id)s::bigint and n.name = %(name)s::text and n.undoes is null
order by n.rank limit 1
