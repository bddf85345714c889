-- Runs a node of a workflow again with what follows, or all that did not complete (functions/retry_workflow.sql). Returns how many nodes
-- are open again. Raises PQ404 if the node cannot run again.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.retry_workflow(%(workflow_id)s::bigint, %(node)s::text, %(again)s::boolean) as opened
)
select d.opened
       , case when d.opened > 0 then pgqueue.note_action(jsonb_build_object(                                          --? noted
           'action', 'retry_workflow',                                                                                --? noted
           'about', jsonb_build_object('workflow', %(workflow_id)s::bigint, 'node', %(node)s::text),                  --? noted
           'changed', d.opened), %(who)s::text::jsonb) end                                                            --? noted
from done d
