-- Reads how a workflow goes: the row of workflow_overview, the number of nodes in each state as JSON, and the greatest id of an open node.
-- Groups and jobs that undo nodes are not counted, but the open node can be such a job.
-- Uses workflows_pkey, nodes_workflow_key, nodes_open_idx and jobs_live_id_key. Locks nothing. Zero rows: there is no such workflow.
select o.id, o.name, o.key, o.state, o.on_failure, o.nodes::bigint, o.created_at, o.ended_at,
       (select coalesce(jsonb_object_agg(c.state, c.number), '{}')
        from (select coalesce(n.state, j.state, 'waiting') as state, count(*) as number
              from pgqueue.nodes n
              left join pgqueue.jobs_live j on j.id = n.id and n.state is null
              where n.workflow_id = o.id and not n.is_gate and n.undoes is null
              group by 1) c)::text as counts,
       (select max(n.id) from pgqueue.nodes n where n.workflow_id = o.id and n.state is null and not n.is_gate) as last_open
from pgqueue.workflow_overview o
where o.id = %(workflow_id)s::bigint
