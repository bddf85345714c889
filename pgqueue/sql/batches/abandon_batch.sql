-- Cancels a batch that is not sealed. functions/abandon_batch.sql explains it. Returns one row: the answer; null: there is no such batch.
select pgqueue.abandon_batch(%(batch)s::bigint)
