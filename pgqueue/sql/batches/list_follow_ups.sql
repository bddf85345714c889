-- Lists the follow-up jobs of a batch that were stored. Returns (name, id of the job, its state), in order. Zero rows: none yet. Locks
-- nothing.
-- Uses nodes_workflow_key. The state is null if retention has taken the job's row.
select n.name, n.id, coalesce(n.state, (select j.state from pgqueue.jobs j where j.id = n.id limit 1))
from pgqueue.nodes n
where n.workflow_id = %(batch)s::bigint and n.rank between 1 and 3
order by n.rank
