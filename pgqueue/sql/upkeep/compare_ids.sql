-- Where the sequence of the ids stands, and the largest id that it can still come to. For `pgq doctor` and `pgq migrate`.
-- Only an enqueuer that chooses its ids writes one beyond 2^62: the sequence must not be moved there, where it would soon end.
-- Reads the end of each partition's id index, and locks nothing.
select coalesce(pg_sequence_last_value('pgqueue.jobs_id_seq'), 0), coalesce(max(j.id), 0)
from pgqueue.jobs j
where j.id < 4611686018427387904
