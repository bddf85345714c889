-- Sends a signal to one job (functions/signal.sql). Returns one row: 'sent', the final state of the job, or null if there is no such job.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.signal(%(job_id)s::bigint, %(name)s::text, %(payload)s::jsonb, %(key)s::text, %(sender)s::text) as said
)
select d.said
       , case when d.said = 'sent' then pgqueue.note_action(jsonb_build_object(                                       --? noted
           'action', 'signal',                                                                                        --? noted
           'about', jsonb_build_object('job', %(job_id)s::bigint, 'name', %(name)s::text, 'key', %(key)s::text),      --? noted
           'job_ids', jsonb_build_array(%(job_id)s::bigint)), %(who)s::text::jsonb) end                               --? noted
from done d
