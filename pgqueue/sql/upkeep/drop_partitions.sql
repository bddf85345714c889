-- Drops the oldest day table if it is older than every queue's retention. Zero rows: no day table is so old.
-- functions/drop_partitions.sql says what it locks.
select p.name, p.what, p.why from pgqueue.drop_partitions() p
