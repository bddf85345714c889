-- Stores one job with a unique key, unless an unfinished job has that key. It does what pgqueue.enqueue_many does, at a third of the cost.
-- This statement is tried first, because most keys are free.
-- Uses the index jobs_live_unique_key. Waits only for a transaction that inserts or ends a job with the same key.
-- Returns one row: the job's id. Zero rows: another job has the key, and the caller must call enqueue_many, which finds out which job it
-- is.
-- Runs under the caller's search_path, and sends only chosen lines, as insert_job.sql does.
insert into pgqueue.jobs_live as j
    (task, args, created_at, run_at, unique_key
    --+ options
    )
select %(task)s::text, w.args, pg_catalog.statement_timestamp(), w.run_at, u.unique_key
    --+ option_values
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
    --+ waking j
