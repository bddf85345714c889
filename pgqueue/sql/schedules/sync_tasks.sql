-- Turns what an app declares of its tasks into rows; see functions/sync_tasks.sql, also for its locks. One row without meaning.
select pgqueue.sync_tasks(%(app)s::text, %(declared)s::text::jsonb, %(seconds)s::float8)
