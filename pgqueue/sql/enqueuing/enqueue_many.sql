-- Stores a batch of jobs by the SQL API, so that Python and SQL share one implementation.
-- Users' texts leave as bytes, because the caller's connection may speak an encoding without one of their characters.
-- Locks: see functions/enqueue_many.sql. One row a job, in order; no rows for an empty batch.
select m.id, m.created, m.state, m.conflict, pg_catalog.convert_to(m.result::text, 'UTF8'), pg_catalog.convert_to(m.error, 'UTF8')
from pgqueue.enqueue_many(%(jobs)s::text::jsonb) m
