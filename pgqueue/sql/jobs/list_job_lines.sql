-- Lists the kept log lines of one job, the oldest first: up to `count` lines whose id is larger than `after`. Uses the primary key of
-- job_lines. Locks nothing. Zero rows: the job has no further line.
select l.id, l.attempt, l.at, l.level, l.logger, l.text
from pgqueue.job_lines l
where l.job_id = %(job_id)s::bigint and l.id > %(after)s::bigint
order by l.id
limit %(count)s::int
