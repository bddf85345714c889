-- Takes ids for jobs that are about to be copied in, and says what time it is. Locks nothing; ids that end up unused are gaps.
-- One row an id.
select nextval('pgqueue.jobs_id_seq'), clock_timestamp() from generate_series(1, %(count)s::int)
