-- Stores a workflow (functions/enqueue_workflow.sql). Returns one row: the id of the workflow, whether it is new, the ids of its nodes in
-- order as the text of an array, the id of the transaction as text, and the time. The last two tell later whether the transaction was
-- committed (find_stored_workflow.sql).
select w.id, w.created, w.node_ids::text, pg_current_xact_id()::text, clock_timestamp()
from pgqueue.enqueue_workflow(%(workflow)s::jsonb) w
