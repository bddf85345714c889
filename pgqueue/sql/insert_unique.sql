-- Stores one job with a unique key unless an unfinished job holds it: what pgqueue.enqueue_many does at a third of its cost,
-- as most keys are free. Waits for another transaction only where that one inserts or ends a job of the same key
-- (jobs_live_unique_key). One row: the job's id. Zero rows: the key is held, and enqueue_many tells by whom.
-- Runs under the caller's search_path, and therefore qualifies all functions and operators of the server.
insert into pgqueue.jobs_live as j
    (task, args, queue, priority, created_at, run_at, max_attempts, timeout, unique_key, concurrency_key, weight,
     ordering, tags, meta, trace_context)
select %(task)s::text, w.args, coalesce(%(queue)s::text, 'default'), coalesce(%(priority)s::smallint, 0),
       pg_catalog.statement_timestamp(), w.run_at, coalesce(%(max_attempts)s::smallint, 6), pg_catalog.make_interval(secs => %(timeout)s::float8),
       u.unique_key, %(concurrency_key)s::text, %(weight)s::smallint, %(ordering)s::text, coalesce(%(tags)s::text[], '{}'),
       coalesce(%(meta)s::text::jsonb, '{}'), %(trace_context)s::text::jsonb
from (select %(args)s::text::jsonb as args,
             coalesce(%(run_at)s::timestamptz, pg_catalog.statement_timestamp() operator(pg_catalog.+) pg_catalog.make_interval(secs => %(delay)s::float8),
                      pg_catalog.statement_timestamp()) as run_at) w
cross join lateral pgqueue.unique_key(
    w.args, %(unique)s::text::jsonb, %(unique_key)s::text, %(unique_for)s::float8, w.run_at) u
on conflict (task, unique_key) where unique_key is not null do nothing
returning j.id, case when j.run_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp() operator(pg_catalog.+) interval '1 second') and %(wake)s::boolean is not false
                     then pgqueue.wake(j.queue)::text end
