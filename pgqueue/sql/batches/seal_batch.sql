-- Seals a batch. functions/seal_batch.sql explains it. Returns one row: sealed or ended.
select pgqueue.seal_batch(%(batch)s::bigint)
