-- Lists the kept log lines of one job, the oldest first: up to `count` lines whose id is larger than `after`. Only the first row has the
-- documents of the job. Uses the primary key of job_lines. Locks nothing. Zero rows: the job has no further line.
select l.id, l.attempt, l.at, l.level, l.logger, l.text, s.*
from (
    select l.*, row_number() over (order by l.id) as position
    from pgqueue.job_lines l
    where l.job_id = %(job_id)s::bigint and l.id > %(after)s::bigint
    order by l.id
    limit %(count)s::int
) l
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where l.position = 1 and j.id = l.job_id limit 1
) s on true
order by l.position
