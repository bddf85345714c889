-- Turns the schedules of an app's code into rows; see functions/sync_schedules.sql, also for its locks and what its rows say.
select s.schedule, s.what
from pgqueue.sync_schedules(%(app)s::text, %(fingerprint)s::text, %(declared)s::text::jsonb, %(seconds)s::float8,
                            %(tasks)s::text[], %(named)s::boolean) s
