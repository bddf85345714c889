-- Runs members of a batch again that did not complete. functions/retry_members.sql explains it. Returns one row: how many, and the id of
-- the last part.
select r.retried, r.last from pgqueue.retry_members(%(batch)s::bigint, %(after)s::bigint, %(count)s::int) r
