-- Chooses the next slice of an action: jobs that match a filter, the largest id first, with smaller ids than `before` (null: from the start).
-- Reads the index on id of each partition backwards until `count` rows match. Locks nothing. Zero rows: no further job matches.
select j.id, j.task, j.state
from pgqueue.jobs j
where (%(before)s::bigint is null or j.id < %(before)s::bigint)
  and --+ matching j
order by j.id desc
limit %(count)s::int
