-- Stores a batch of jobs by the SQL API, so that Python and SQL share one implementation.
-- Users' texts leave as bytes, because the caller's connection may speak an encoding that lacks one of their characters.
-- The function of the same name says what it locks and expects. One row a job, in order; zero rows: the batch is empty.
select m.id, m.created, m.state, m.conflict, pg_catalog.convert_to(m.result::text, 'UTF8'), pg_catalog.convert_to(m.error, 'UTF8')
from pgqueue.enqueue_many(%(jobs)s::text::jsonb) m
