-- Drops the days that are older than every queue's retention. Returns the tables it dropped.
-- Takes an exclusive lock on the parent for a moment; the caller sets a short lock_timeout and tries again later.
select name from pgqueue.drop_partitions() as name
