-- Stores one job that has no unique key and no idempotency key. It does what pgqueue.enqueue_many does for such a job. But it is a plain
-- INSERT, because it runs in the middle of users' own transactions.
-- Locks nothing that another enqueuer could wait for. Returns one row: the job's id.
-- Runs under the caller's search_path, and therefore qualifies all functions and operators of the server.
-- A line that ends in `--? name` is sent only if `name` is chosen. This saves time, because the server prepares each expression again for
-- each insert.
insert into pgqueue.jobs_live as j
    (task, args, created_at, run_at
    --+ options
    )
values
    (%(task)s::text, %(args)s::text::jsonb, pg_catalog.statement_timestamp(),
    pg_catalog.statement_timestamp()                                                 --? now
    pg_catalog.statement_timestamp() operator(pg_catalog.+)                          --? delay
        pg_catalog.make_interval(secs => %(delay)s::float8)                          --? delay
    %(run_at)s::text::timestamptz                                                    --? run_at
    --+ option_values
    )
returning j.id
    --+ waking j
