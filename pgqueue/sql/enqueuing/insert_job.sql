-- Stores one job that carries no key: what pgqueue.enqueue_many does, as a plain insert, because it happens in the middle of users' own
-- transactions. Locks nothing that another enqueuer could wait for. One row: the job's id.
-- Runs under the caller's search_path, and therefore qualifies all functions and operators of the server.
-- A line that ends in `--? name` is sent only if `name` is chosen, because the server prepares each expression again for each insert.
insert into pgqueue.jobs_live as j
    (task, args, created_at, run_at
    , queue                                                                          --? queue
    , priority                                                                       --? priority
    , max_attempts                                                                   --? max_attempts
    , timeout                                                                        --? timeout
    , concurrency_key                                                                --? concurrency_key
    , weight                                                                         --? weight
    , ordering                                                                       --? ordering
    , tags                                                                           --? tags
    , meta                                                                           --? meta
    , trace_context                                                                  --? trace_context
    )
values
    (%(task)s::text, %(args)s::text::jsonb, pg_catalog.statement_timestamp(),
    pg_catalog.statement_timestamp()                                                 --? now
    pg_catalog.statement_timestamp() operator(pg_catalog.+)                          --? delay
        pg_catalog.make_interval(secs => %(delay)s::float8)                          --? delay
    %(run_at)s::text::timestamptz                                                    --? run_at
    , %(queue)s::text                                                                --? queue
    , %(priority)s::smallint                                                         --? priority
    , %(max_attempts)s::smallint                                                     --? max_attempts
    , pg_catalog.make_interval(secs => %(timeout)s::float8)                          --? timeout
    , %(concurrency_key)s::text                                                      --? concurrency_key
    , %(weight)s::smallint                                                           --? weight
    , %(ordering)s::text                                                             --? ordering
    , %(tags)s::text[]                                                               --? tags
    , %(meta)s::text::jsonb                                                          --? meta
    , %(trace_context)s::text::jsonb                                                 --? trace_context
    )
returning j.id
    , pgqueue.wake(j.queue)::text                                                    --? wake_now
    , case when j.run_at operator(pg_catalog.<=)                                     --? wake_soon
              (pg_catalog.statement_timestamp() operator(pg_catalog.+) interval '1 second') --? wake_soon
          then pgqueue.wake(j.queue)::text end                                       --? wake_soon
