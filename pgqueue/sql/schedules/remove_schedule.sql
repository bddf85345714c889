-- Removes a schedule and the rows of its runs. Its jobs stay. Locks these rows. Zero rows: there is no such schedule.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    delete from pgqueue.schedules s
    where s.name = %(name)s::text
    returning s.*
)
select d.source
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'remove_schedule',                                                                               --? noted
           'about', jsonb_build_object('schedule', %(name)s::text),                                                   --? noted
           'before', to_jsonb(d) - 'args'), %(who)s::text::jsonb)                                                     --? noted
from done d
