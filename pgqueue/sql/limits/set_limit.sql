-- Makes a limit, or changes the one of the same scope (queue, task, by key or not, key, sliding or not). If a value is not given, the
-- limit keeps the old one.
-- Claims heed it at once. Locks that row. One row: its id.
insert into pgqueue.limits as l (queue, task, per_key, key, concurrency, rate, period, sliding, burst, share)
values (%(queue)s::text, %(task)s::text, %(per_key)s::boolean, %(key)s::text, %(concurrency)s::int, %(rate)s::int,
        make_interval(secs => %(period)s::float8), %(sliding)s::boolean, %(burst)s::int, %(share)s::int)
on conflict on constraint limits_scope_key do update
set concurrency = coalesce(excluded.concurrency, l.concurrency), share = coalesce(excluded.share, l.share),
    rate = coalesce(excluded.rate, l.rate), period = coalesce(excluded.period, l.period),
    burst = case when excluded.rate is null then l.burst else excluded.burst end
returning l.id
