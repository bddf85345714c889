-- Whether a program waits for the end of some job at this moment (mark_waited.sql). Only in this case, notifications about finished jobs
-- are sent.
-- All names are qualified, because complete.sql runs under the search path of a user.
coalesce(pg_catalog.pg_sequence_last_value('pgqueue.waited_until'), 0)
    operator(pg_catalog.>) (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000) as now
