-- Stores one job with a unique key unless an unfinished job holds it: what pgqueue.enqueue_many does, at a third of its cost, because
-- most keys are free. Expects jobs_live_unique_key, and waits only for a transaction that inserts or ends a job of the same key.
-- One row: the job's id. Zero rows: the key is held, and enqueue_many tells by which job.
-- Runs under the caller's search_path, and sends only chosen lines, as insert_job.sql does.
insert into pgqueue.jobs_live as j
    (task, args, created_at, run_at, unique_key
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
select %(task)s::text, w.args, pg_catalog.statement_timestamp(), w.run_at, u.unique_key
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
from (select %(args)s::text::jsonb as args,
          pg_catalog.statement_timestamp()                                           --? now
          pg_catalog.statement_timestamp() operator(pg_catalog.+)                    --? delay
              pg_catalog.make_interval(secs => %(delay)s::float8)                    --? delay
          %(run_at)s::text::timestamptz                                              --? run_at
      as run_at) w
cross join lateral pgqueue.unique_key(
    w.args, %(unique)s::text::jsonb, %(unique_key)s::text, %(unique_for)s::float8, w.run_at) u
on conflict (task, unique_key) where unique_key is not null do nothing
returning j.id
    , pgqueue.wake(j.queue)::text                                                    --? wake_now
    , case when j.run_at operator(pg_catalog.<=)                                     --? wake_soon
              (pg_catalog.statement_timestamp() operator(pg_catalog.+) interval '1 second') --? wake_soon
          then pgqueue.wake(j.queue)::text end                                       --? wake_soon
