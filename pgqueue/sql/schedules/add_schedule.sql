-- Adds a schedule. A scheduler, which is a part of a worker, plans it within two seconds. Zero rows: the name is taken, and nothing was
-- changed.
-- Waits only for another transaction that adds the same name.
insert into pgqueue.schedules
    (name, task, cron, every, at, anchor, tz, overlap, missed, missed_cap, jitter, args, options, source)
values (%(name)s::text, %(task)s::text, %(cron)s::text, make_interval(secs => %(every)s::float8), %(at)s::timestamptz,
        coalesce(%(anchor)s::timestamptz, date_trunc('second', clock_timestamp())), %(tz)s::text, %(overlap)s::text,
        %(missed)s::text, %(missed_cap)s::smallint, make_interval(secs => %(jitter)s::float8), %(args)s::text::jsonb,
        %(options)s::text::jsonb, 'cli')
on conflict (name) do nothing
returning id
