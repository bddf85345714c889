-- Where the sequence of the ids stands, and the largest id of a job that the sequence can still come to. For `pgq doctor` and `pgq
-- migrate`.
-- An id beyond 2^62 comes only from an enqueuer that chooses its ids. It does not count: the sequence must not be moved there, where it
-- would soon end.
-- Reads the end of each partition's id index, and locks nothing.
select coalesce(pg_sequence_last_value('pgqueue.jobs_id_seq'), 0), coalesce(max(j.id), 0)
from pgqueue.jobs j
where j.id < 4611686018427387904
