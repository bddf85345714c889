-- Lists the jobs that match a filter, the largest id first. If `before` is not null, lists only jobs with smaller ids than `before`. If
-- `floor` is not null, looks only at jobs with this id or a larger one, so a filter that few jobs match reads a limited number of rows.
-- Reads the index on id of each partition backwards until `count` rows match. Locks nothing. Zero rows: no further job matches.
select
    --+ shown j,
    --+ redact j
from pgqueue.jobs j
where (%(before)s::bigint is null or j.id < %(before)s::bigint)
  and (%(floor)s::bigint is null or j.id >= %(floor)s::bigint)
  and --+ matching j
order by j.id desc
limit %(count)s::int
