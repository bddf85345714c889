-- Cancels a workflow (functions/cancel_workflow.sql). Returns 'cancelled', 'requested' or 'ended'. Null: there is no such workflow.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.cancel_workflow(%(workflow_id)s::bigint) as said
)
select d.said
       , case when d.said in ('cancelled', 'requested') then pgqueue.note_action(jsonb_build_object(                  --? noted
           'action', 'cancel_workflow',                                                                               --? noted
           'about', jsonb_build_object('workflow', %(workflow_id)s::bigint),                                          --? noted
           'after', jsonb_build_object('result', d.said)), %(who)s::text::jsonb) end                                  --? noted
from done d
