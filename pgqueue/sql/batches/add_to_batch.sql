-- Adds jobs to a batch. functions/add_to_batch.sql explains it. Returns one row: the ids of the new members, as the text of an array.
select pgqueue.add_to_batch(%(batch)s::bigint, %(jobs)s::jsonb, %(member)s::bigint)::text
