-- Why a job is not running (functions/why.sql). Locks nothing. Always one row.
select y.reason, y.sentence, y.until, y.ahead, y.do_this from pgqueue.why(%(job_id)s::bigint) y
