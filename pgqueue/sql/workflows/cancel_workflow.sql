-- Cancels a workflow (functions/cancel_workflow.sql). Returns 'cancelled', 'requested' or 'ended'. Null: there is no such workflow.
select pgqueue.cancel_workflow(%(workflow_id)s::bigint)
