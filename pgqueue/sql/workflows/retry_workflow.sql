-- Runs a node of a workflow again with what follows, or all that did not complete (functions/retry_workflow.sql). Returns how many nodes
-- are open again. Raises PQ404 if the node cannot run again.
select pgqueue.retry_workflow(%(workflow_id)s::bigint, %(node)s::text, %(again)s::boolean)
