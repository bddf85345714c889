-- Makes a limit, or changes the one of the same scope (queue, task, by key or not, key, sliding or not). Claims heed it at once.
-- Locks that row. One row: its id.
insert into pgqueue.limits as l (queue, task, per_key, key, concurrency, rate, period, sliding, burst)
values (%(queue)s::text, %(task)s::text, %(per_key)s::boolean, %(key)s::text, %(concurrency)s::int, %(rate)s::int,
        make_interval(secs => %(period)s::float8), %(sliding)s::boolean, %(burst)s::int)
on conflict on constraint limits_scope_key do update
set concurrency = excluded.concurrency, rate = excluded.rate, period = excluded.period, burst = excluded.burst
returning l.id
