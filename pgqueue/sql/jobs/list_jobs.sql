-- Lists jobs by a filter, newest id first, below `before` (a cursor; null: from the newest on).
-- Reads the id index of each partition backwards until `count` rows match. Locks nothing. Zero rows: no further job matches.
select
    --+ shown j
from pgqueue.jobs j
where (%(before)s::bigint is null or j.id < %(before)s::bigint)
  and --+ matching j
order by j.id desc
limit %(count)s::int
