-- Says why a job is not running (functions/why.sql), with the documents of the job, by which the answer is masked before people see it. Locks
-- nothing. Always returns one row.
select y.reason, y.sentence, y.until, y.ahead, y.do_this, s.*
from pgqueue.why(%(job_id)s::bigint) y
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where j.id = %(job_id)s::bigint order by j.finished_at nulls first limit 1
) s on true
