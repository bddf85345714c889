-- Returns the last id that the sequence of ids has given, and the largest id of a job that the sequence can still reach. It is for `pgq
-- doctor` and `pgq migrate`.
-- An id beyond 2^62 comes only from an enqueuer that chooses its own ids. Such an id does not count, because the sequence must not be moved
-- there:
-- it would soon reach its end.
-- Reads only the end of each partition's index on id. Locks nothing.
select coalesce(pg_sequence_last_value('pgqueue.jobs_id_seq'), 0), coalesce(max(j.id), 0)
from pgqueue.jobs j
where j.id < 4611686018427387904
