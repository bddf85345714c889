-- Stores a batch of jobs by the SQL API, so that Python and SQL share one implementation.
-- Texts of users are returned as bytes, because the encoding of the caller's connection can lack one of their characters.
-- The function of the same name says what is locked and which indexes are used. Returns one row for each job, in order. Zero rows: the
-- batch is empty.
select m.id, m.created, m.state, m.conflict, pg_catalog.convert_to(m.result::text, 'UTF8'), pg_catalog.convert_to(m.error, 'UTF8')
from pgqueue.enqueue_many(%(jobs)s::text::jsonb) m
