-- Ends an open node whose job has no row among the unfinished jobs: a worker of an earlier version completed it, or a person deleted it.
-- Looks at up to `count` of the next nodes after the id `node`, open or not. Uses nodes_pkey and jobs_live_id_key.
-- Returns one row: workflow_id and id of the last node that it looked at (null: there are no more), and whether it ended that node (0 or
-- 1).
select m.last_workflow, m.last_node, m.mended from pgqueue.mend_nodes(%(workflow)s::bigint, %(node)s::bigint, %(count)s::int) m
