-- Drops the oldest day if it is older than every queue's retention. Zero rows: none is.
-- Locks: see functions/drop_partitions.sql.
select p.name, p.what, p.why from pgqueue.drop_partitions() p
