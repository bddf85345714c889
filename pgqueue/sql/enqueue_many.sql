-- Stores a batch of jobs by the SQL API, so that Python and SQL share one implementation.
-- Locks: see functions/enqueue_many.sql. One row a job, in order; no rows for an empty batch.
select m.id, m.created, m.state, m.conflict, m.result::text, m.error
from pgqueue.enqueue_many(%(jobs)s::text::jsonb) m
