-- Turns the schedules of an app's code into rows. functions/sync_schedules.sql says more, also what it locks and what the returned rows
-- mean.
select s.schedule, s.what
from pgqueue.sync_schedules(%(app)s::text, %(fingerprint)s::text, %(declared)s::text::jsonb, %(seconds)s::float8,
                            %(tasks)s::text[], %(named)s::boolean) s
