-- Turns the declarations of an app's tasks into rows. functions/sync_tasks.sql says more, also what it locks. Returns one row that has no
-- meaning.
select pgqueue.sync_tasks(%(app)s::text, %(declared)s::text::jsonb, %(seconds)s::float8)
