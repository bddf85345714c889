-- Replaces a schedule's definition by a new definition. The schedule's pause and its source stay. Locks the schedule's row.
-- Zero rows: there is no schedule of that name.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    update pgqueue.schedules s
    set task = %(task)s::text, cron = %(cron)s::text, every = make_interval(secs => %(every)s::float8),
        at = %(at)s::timestamptz, anchor = coalesce(%(anchor)s::timestamptz, s.anchor), tz = %(tz)s::text,
        overlap = %(overlap)s::text, missed = %(missed)s::text, missed_cap = %(missed_cap)s::smallint,
        jitter = make_interval(secs => %(jitter)s::float8), args = %(args)s::text::jsonb, options = %(options)s::text::jsonb
    where s.name = %(name)s::text
    returning s.*
)
select d.id
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'edit_schedule',                                                                                 --? noted
           'about', jsonb_build_object('schedule', %(name)s::text),                                                   --? noted
           'before', (select to_jsonb(f) - 'args' from pgqueue.schedules f where f.id = d.id),                        --? noted
           'after', to_jsonb(d) - 'args'), %(who)s::text::jsonb)                                                      --? noted
from done d
