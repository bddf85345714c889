-- Adds a schedule. A scheduler, which is a part of a worker, plans it within two seconds. Zero rows: the name is taken, and nothing was
-- changed.
-- Waits only for another transaction that adds the same name.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    insert into pgqueue.schedules as s
        (name, task, cron, every, at, anchor, tz, overlap, missed, missed_cap, jitter, args, options, source)
    values (%(name)s::text, %(task)s::text, %(cron)s::text, make_interval(secs => %(every)s::float8), %(at)s::timestamptz,
            coalesce(%(anchor)s::timestamptz, date_trunc('second', clock_timestamp())), %(tz)s::text, %(overlap)s::text,
            %(missed)s::text, %(missed_cap)s::smallint, make_interval(secs => %(jitter)s::float8), %(args)s::text::jsonb,
            %(options)s::text::jsonb, 'cli')
    on conflict (name) do nothing
    returning s.*
)
select d.id
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'add_schedule',                                                                                  --? noted
           'about', jsonb_build_object('schedule', %(name)s::text),                                                   --? noted
           'after', to_jsonb(d) - 'args'), %(who)s::text::jsonb)                                                      --? noted
from done d
