-- Says why a job is not running (functions/why.sql). Locks nothing. Always returns one row.
select y.reason, y.sentence, y.until, y.ahead, y.do_this from pgqueue.why(%(job_id)s::bigint) y
