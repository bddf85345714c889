-- Pauses or resumes a schedule. Fire times during a pause never get a job. Locks the schedule's row.
-- Zero rows: there is no such schedule.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    update pgqueue.schedules s set paused = %(paused)s::boolean
    where s.name = %(name)s::text
    returning s.id
)
select d.id
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', case when %(paused)s::boolean then 'pause_schedule' else 'resume_schedule' end,                  --? noted
           'about', jsonb_build_object('schedule', %(name)s::text),                                                   --? noted
           'before', (select jsonb_build_object('paused', f.paused) from pgqueue.schedules f where f.name = %(name)s::text), --? noted
           'after', jsonb_build_object('paused', %(paused)s::boolean),                                                --? noted
           'can_undo', true), %(who)s::text::jsonb)                                                                   --? noted
from done d
