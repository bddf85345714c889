-- Runs a schedule now, by the SQL API (functions/run_schedule.sql). Returns the job's id; null: there is no such schedule.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.run_schedule(%(name)s::text) as job_id
)
select d.job_id
       , case when d.job_id is not null then pgqueue.note_action(jsonb_build_object(                                  --? noted
           'action', 'run_schedule',                                                                                  --? noted
           'about', jsonb_build_object('schedule', %(name)s::text),                                                   --? noted
           'job_ids', jsonb_build_array(d.job_id)), %(who)s::text::jsonb) end                                         --? noted
from done d
