-- Stores one job that carries no key: what pgqueue.enqueue_many does, as a plain insert, for this is what people do in
-- the middle of their own transactions. Locks nothing that another enqueuer could wait for. One row: the job's id.
-- Runs under the caller's search_path, and therefore qualifies all functions and operators of the server.
insert into pgqueue.jobs_live as j
    (task, args, queue, priority, created_at, run_at, max_attempts, timeout, concurrency_key, weight, ordering, tags, meta, trace_context)
values (%(task)s::text, %(args)s::text::jsonb, coalesce(%(queue)s::text, 'default'), coalesce(%(priority)s::smallint, 0),
        pg_catalog.statement_timestamp(),
        coalesce(%(run_at)s::timestamptz, pg_catalog.statement_timestamp() operator(pg_catalog.+) pg_catalog.make_interval(secs => %(delay)s::float8), pg_catalog.statement_timestamp()),
        coalesce(%(max_attempts)s::smallint, 6), pg_catalog.make_interval(secs => %(timeout)s::float8),
        %(concurrency_key)s::text, %(weight)s::smallint, %(ordering)s::text, coalesce(%(tags)s::text[], '{}'), coalesce(%(meta)s::text::jsonb, '{}'),
        %(trace_context)s::text::jsonb)
returning j.id, case when j.run_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp() operator(pg_catalog.+) interval '1 second') and %(wake)s::boolean is not false
                     then pgqueue.wake(j.queue)::text end
