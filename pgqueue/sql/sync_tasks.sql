-- What workers declare of their tasks: see the function. Returns nothing of interest.
select pgqueue.sync_tasks(%(app)s::text, %(declared)s::text::jsonb, %(seconds)s::float8)
