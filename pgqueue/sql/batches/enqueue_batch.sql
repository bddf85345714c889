-- Stores a batch. functions/enqueue_batch.sql explains it. Returns one row: its id, and whether it is new.
select b.id, b.created from pgqueue.enqueue_batch(%(batch)s::jsonb) b
