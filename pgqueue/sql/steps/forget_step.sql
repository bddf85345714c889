-- Deletes the checkpoint of one step (functions/forget_step.sql). Returns one row: whether there was such a checkpoint.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.forget_step(%(job_id)s::bigint, %(name)s::text, %(key)s::text) as forgotten
)
select d.forgotten
       , case when d.forgotten then pgqueue.note_action(jsonb_build_object(                                           --? noted
           'action', 'forget_step',                                                                                   --? noted
           'about', jsonb_build_object('job', %(job_id)s::bigint, 'name', %(name)s::text, 'key', %(key)s::text),      --? noted
           'job_ids', jsonb_build_array(%(job_id)s::bigint)), %(who)s::text::jsonb) end                               --? noted
from done d
